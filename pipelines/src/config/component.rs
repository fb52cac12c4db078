//! One macro that declares a component's settings once: the struct, its defaults and its page of the printed file.
//!
//! ```text
//!   component! { /// docs  struct X { /// docs, unit  field: type = default, } }
//!        ├─> struct X (unknown keys refused, absent keys take the default)
//!        ├─> impl Default for X
//!        └─> X::describe(out): the same docs as `#` lines over `field = default`
//! ```
//!
//! Since the printed file and the struct come from the same lines, they can't drift apart.

use std::fmt::Write as _;

/// Writes `doc` as comment lines.
pub fn comment(out: &mut String, doc: &[&str]) {
    for line in doc {
        let _ = writeln!(out, "#{}", line.trim_end());
    }
}

/// Writes `name = value`; a setting without a default is shown as a comment with an example.
pub fn assignment<T: serde::Serialize>(out: &mut String, name: &str, value: &T, example: Option<&str>) {
    match (toml::Value::try_from(value), example) {
        (Ok(value), _) => writeln!(out, "{name} = {value}\n"),
        (Err(_), Some(example)) => writeln!(out, "# {name} = {example}\n"),
        (Err(error), None) => unreachable!("the default of {name} has no TOML form: {error}"),
    }
    .expect("writing into a string can't fail");
}

/// Declares a component's settings; see the module's picture.
macro_rules! component {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident : $ty:ty = $default:expr $(, example $example:literal)? ; )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $ty, )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $( $field: $default, )* }
            }
        }

        impl $name {
            /// Writes every setting with its documentation and default.
            pub fn describe(&self, out: &mut String) {
                $(
                    $crate::config::component::comment(out, &[$($field_doc),*]);
                    let example: Option<&str> = None $(.or(Some($example)))?;
                    $crate::config::component::assignment(out, stringify!($field), &self.$field, example);
                )*
            }
        }
    };
}

pub(crate) use component;
