//! `/openapi.json`: OpenAPI 3.1, made from the table of routes and from the kinds of problems.
//!
//! It names every status, type and shape of answer there is; `scripts/api-fuzz` looks for others.

use crate::app::{Answering, App, Call};
use crate::problem::KINDS;
use crate::routes::{Access, Gives, Method, ROUTES, Route};
use crate::shapes;
use serde_json::{Map, Value, json};
use std::sync::{Arc, OnceLock};

/// `GET /openapi.json`.
pub fn document(app: Arc<App>, _call: Call) -> Answering {
    static DOCUMENTS: [OnceLock<Value>; 2] = [OnceLock::new(), OnceLock::new()];
    let open = app.auth.is_open();
    let document = DOCUMENTS[usize::from(open)].get_or_init(|| described(open));
    Box::pin(async { Ok(crate::reads::json_answer(document)) })
}

/// The whole document; `open` where nobody has to say who they are.
pub fn described(open: bool) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let methods = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        let method = match route.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        methods[method] = operation(route, open);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tombola",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands in, decisions out. A command is durable when it is answered, decided once, \
                            and safe to send again with its Idempotency-Key, to any instance.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": components(),
        },
    })
}

fn components() -> Map<String, Value> {
    let mut components = shapes::components();
    components.insert("Problem".to_owned(), problem());
    components
}

fn operation(route: &Route, open: bool) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.about,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let Access::Roles(roles) = route.access {
        let words: Vec<String> = roles
            .iter()
            .map(|role| format!("{role:?}").to_lowercase())
            .chain(["operator".to_owned()])
            .collect();
        let mut words = words;
        words.dedup();
        operation["security"] = if open { json!([{"bearer": []}, {}]) } else { json!([{"bearer": []}]) };
        operation["x-roles"] = json!(words);
    }
    if route.method == Method::Post {
        let properties: Map<String, Value> = route
            .body
            .iter()
            .map(|field| {
                let mut schema = field.kind.schema();
                if !field.required {
                    // Null is the same as absent.
                    schema["type"] = json!([schema["type"], "null"]);
                    let words = schema.get_mut("enum").and_then(Value::as_array_mut);
                    words.into_iter().for_each(|words| words.push(Value::Null));
                }
                schema["description"] = field.about.into();
                (field.name.to_owned(), schema)
            })
            .collect();
        let required: Vec<&str> = route.body.iter().filter(|f| f.required).map(|f| f.name).collect();
        let schema = if route.id == "changeReference" {
            shapes::change()
        } else {
            json!({
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            })
        };
        operation["requestBody"] = json!({
            "required": !required.is_empty(),
            "content": {"application/json": {"schema": schema}},
        });
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let named = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let path = named.map(|name| {
        let schema = if name == "table" { shapes::reference_tables() } else { json!({"type": "string"}) };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let query = route.query.iter().map(|field| {
        json!({
            "name": field.name, "in": "query", "required": field.required,
            "description": field.about, "schema": field.kind.schema(),
        })
    });
    let key = route.keyed.then(|| {
        json!({
            "name": "Idempotency-Key", "in": "header", "required": true,
            "description": "Yours for this request alone; the same one when you send it again",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        })
    });
    let tag = route.tags().then(
        || json!({"name": "If-None-Match", "in": "header", "required": false, "schema": {"type": "string"}}),
    );
    path.chain(query).chain(key).chain(tag).collect()
}

fn responses(route: &Route) -> Value {
    let kinds: &[&str] = match route.gives {
        Gives::Json | Gives::Command | Gives::Page => &["application/json"],
        Gives::Events => &["text/event-stream"],
        Gives::Image => &["image/png"],
        Gives::Figures => &["application/openmetrics-text"],
        Gives::Files => &crate::page::KINDS,
    };
    let content: Map<String, Value> = kinds
        .iter()
        .map(|kind| {
            let shape =
                if *kind == "application/json" { json!({"schema": shapes::body(route)}) } else { json!({}) };
            ((*kind).to_owned(), shape)
        })
        .collect();
    let mut responses = json!({});
    // A change of a reference row is taken, and nobody decides about it.
    if route.id != "changeReference" {
        responses["200"] = json!({"description": "Done", "headers": headers(route), "content": content});
    }
    for (kind, status, title) in KINDS.iter().filter(|(kind, ..)| may_give(route, kind)) {
        let known = responses[status.to_string()]["description"].as_str();
        let about = known
            .map_or_else(|| format!("{title} (`{kind}`)"), |known| format!("{known}; {title} (`{kind}`)"));
        responses[status.to_string()] = json!({
            "description": about,
            "content": {"application/problem+json": {"schema": shapes::reference("Problem")}},
        });
        if matches!(status, 429 | 503) {
            responses[status.to_string()]["headers"] = json!({"Retry-After": header("integer", "Seconds")});
        }
    }
    if route.gives == Gives::Command {
        let described = if route.id == "changeReference" {
            json!({"description": "Durable: in the log at `record`"})
        } else {
            json!({
                "description": "Durable; `Location` says where to look for the decision",
                "headers": {"Location": header("string", LOCATION)},
            })
        };
        responses["202"] = described;
        responses["202"]["content"] = json!({"application/json": {"schema": shapes::reference("Accepted")}});
    }
    if route.tags() {
        responses["304"] = json!({"description": "You have it", "headers": headers(route)});
    }
    responses
}

const LOCATION: &str = "A read that waits until the record is decided";

/// What the head of an answer says besides.
fn headers(route: &Route) -> Value {
    let mut headers = json!({});
    if route.tags() {
        headers["ETag"] = header("string", "Of the body: send it as `If-None-Match`");
    }
    let as_of = route.tags() && route.gives != Gives::Image
        || route.gives == Gives::Command
        || matches!(route.id, "getStatus" | "buyTicket");
    if as_of {
        headers["Tombola-Frontier"] = header("integer", "The decided epoch that the answer is as of");
    }
    if route.gives == Gives::Command {
        headers["Location"] = header("string", LOCATION);
    }
    headers
}

fn header(kind: &str, about: &str) -> Value {
    json!({"required": true, "description": about, "schema": {"type": kind}})
}

/// Whether a route may end in a problem of a kind; most of them are told before a route is asked.
fn may_give(route: &Route, kind: &str) -> bool {
    match kind {
        "unauthenticated" => matches!(route.access, Access::Roles(_)),
        "unsupported-media-type" => route.method == Method::Post,
        "idempotency-conflict" => route.gives == Gives::Command,
        "dead-letter" => route.gives == Gives::Command && route.id != "changeReference",
        "payment-not-confirmed" => route.id == "buyTicket",
        "not-decided-yet" => route.query.iter().any(|field| field.name == "after"),
        "position-gone" => route.gives == Gives::Events,
        "too-many-requests" => !route.watches(),
        "not-ready" => route.id == "isReady",
        _ => true,
    }
}

fn problem() -> Value {
    let kinds: Vec<String> = KINDS.iter().map(|(kind, ..)| format!("/problems/{kind}")).collect();
    json!({
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": kinds},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::{Found, find};

    #[test]
    fn what_is_described_is_routed_and_what_is_routed_is_described() {
        let document = described(false);
        let mut described = 0;
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let method = method.to_uppercase().parse().expect("a method");
                let example: Vec<&str> =
                    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
                let Found::Route(route, given) = find(&method, &example.join("/")) else {
                    panic!("{method} {path} leads nowhere");
                };
                assert_eq!(operation["operationId"], route.id);
                let declared = operation["parameters"].as_array().expect("parameters");
                let of = |place: &str| declared.iter().filter(|p| p["in"] == place).count();
                assert_eq!((of("path"), of("query")), (given.len(), route.query.len()), "{path}");
                let body = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
                assert_eq!(body.as_object().map_or(0, Map::len), route.body.len(), "{path}");
                described += 1;
            }
        }
        assert_eq!(described, ROUTES.len());
    }

    #[test]
    fn whatever_may_be_known_to_its_client_is_described_so() {
        let tagged: Vec<&str> = ROUTES
            .iter()
            .filter(|route| operation(route, false)["responses"].get("304").is_some())
            .map(|route| route.id)
            .collect();
        for id in ["getOrder", "getDraw", "explainStatement", "listOrders", "getDrawImage"] {
            assert!(tagged.contains(&id), "{id}");
        }
        for id in ["placeOrder", "getStatus", "followLive", "isAlive"] {
            assert!(!tagged.contains(&id), "{id}");
        }
    }

    #[test]
    fn every_reference_within_the_document_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').expect("within the document");
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            match value {
                Value::Object(fields) => fields.values().for_each(|value| check(value, document)),
                Value::Array(items) => items.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document = described(true);
        check(&document, &document);
    }
}
