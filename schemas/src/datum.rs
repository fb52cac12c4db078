//! Writes a record as Avro binary by its place: field by field, as the Rust type has them, without asking the schema.
//!
//! ```text
//!   int, long  zigzag, 7 bits a byte       string, bytes  length, bytes       [null, T]  0 | 1, T
//!   enum       number of the symbol        array          count, items, 0 (0 alone: nothing)
//!   record     its fields, nothing between or around them
//! ```
//!
//! (Apache Avro 1.12, "Binary Encoding".) A general encoder looks up each field and symbol by name, for those who have
//! them in another order; that was two thirds of what a fact costs on its way out. Our types are the contracts written
//! down again: fields and symbols in the order of the `.avsc`, what may be absent as `["null", T]`. Wherever debug assertions
//! are on, as in every test, what is written is held to the bytes of the general encoder (see [`super::avro`]).

use serde::ser::{self, Impossible, Serialize};
use std::fmt::Display;

/// Appends a value. What our contracts don't use (floats, maps, unions of more than null and one other) is refused.
///
/// # Errors
/// [`Unfit`] where the type has something that no contract has.
pub fn write(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), Unfit> {
    value.serialize(Datum { out })
}

/// A type that doesn't fit.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl ser::Error for Unfit {
    fn custom<T: Display>(message: T) -> Self {
        Unfit(message.to_string())
    }
}

fn unfit<T>(what: &str) -> Result<T, Unfit> {
    Err(Unfit(format!("{what}: no contract has one")))
}

struct Datum<'a> {
    out: &'a mut Vec<u8>,
}

impl Datum<'_> {
    fn long(self, value: i64) -> Result<(), Unfit> {
        let mut left = (value << 1 ^ value >> 63) as u64;
        while left >= 0x80 {
            self.out.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.out.push(left as u8);
        Ok(())
    }

    fn sized(self, bytes: &[u8]) -> Result<(), Unfit> {
        Datum { out: &mut *self.out }.long(bytes.len() as i64)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// Fields, or items, one after the other.
struct Within<'a> {
    out: &'a mut Vec<u8>,
    /// An array's end is written, where it had any item.
    ends: bool,
}

impl Within<'_> {
    fn next(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unfit> {
        value.serialize(Datum { out: self.out })
    }
}

impl ser::SerializeStruct for Within<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Unfit> {
        self.next(value)
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

impl ser::SerializeSeq for Within<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        self.next(value)
    }

    fn end(self) -> Result<(), Unfit> {
        if self.ends { Datum { out: self.out }.long(0) } else { Ok(()) }
    }
}

impl<'a> ser::Serializer for Datum<'a> {
    type Ok = ();
    type Error = Unfit;
    type SerializeSeq = Within<'a>;
    type SerializeStruct = Within<'a>;
    type SerializeTuple = Impossible<(), Unfit>;
    type SerializeTupleStruct = Impossible<(), Unfit>;
    type SerializeTupleVariant = Impossible<(), Unfit>;
    type SerializeMap = Impossible<(), Unfit>;
    type SerializeStructVariant = Impossible<(), Unfit>;

    fn serialize_bool(self, value: bool) -> Result<(), Unfit> {
        self.out.push(u8::from(value));
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Unfit> {
        self.long(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Unfit> {
        self.long(value)
    }

    fn serialize_str(self, value: &str) -> Result<(), Unfit> {
        self.sized(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unfit> {
        self.sized(value)
    }

    fn serialize_none(self) -> Result<(), Unfit> {
        self.long(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unfit> {
        Datum { out: &mut *self.out }.long(1)?;
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, symbol: u32, _: &'static str) -> Result<(), Unfit> {
        self.long(symbol.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unfit> {
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Within<'a>, Unfit> {
        let Some(len) = len else { return unfit("an array whose length isn't known") };
        Datum { out: &mut *self.out }.long(len as i64)?;
        Ok(Within { out: self.out, ends: len > 0 })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Within<'a>, Unfit> {
        Ok(Within { out: self.out, ends: false })
    }

    fn serialize_i8(self, _: i8) -> Result<(), Unfit> {
        unfit("an i8")
    }

    fn serialize_i16(self, _: i16) -> Result<(), Unfit> {
        unfit("an i16")
    }

    fn serialize_u8(self, _: u8) -> Result<(), Unfit> {
        unfit("a u8")
    }

    fn serialize_u16(self, _: u16) -> Result<(), Unfit> {
        unfit("a u16")
    }

    fn serialize_u32(self, _: u32) -> Result<(), Unfit> {
        unfit("a u32")
    }

    fn serialize_u64(self, _: u64) -> Result<(), Unfit> {
        unfit("a u64")
    }

    fn serialize_f32(self, _: f32) -> Result<(), Unfit> {
        unfit("a float")
    }

    fn serialize_f64(self, _: f64) -> Result<(), Unfit> {
        unfit("a float")
    }

    fn serialize_char(self, _: char) -> Result<(), Unfit> {
        unfit("a char")
    }

    fn serialize_unit(self) -> Result<(), Unfit> {
        unfit("a unit")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unfit> {
        unfit("a unit")
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Unfit> {
        unfit("a variant with fields")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unfit> {
        unfit("a tuple")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unfit> {
        unfit("a tuple")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unfit> {
        unfit("a variant with fields")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unfit> {
        unfit("a map")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unfit> {
        unfit("a variant with fields")
    }
}
