//! Which route a request is for.

use crate::routes::{Method, ROUTES, Route};

/// What a path leads to.
pub enum Found {
    Route(&'static Route, Vec<String>),
    /// There is such a path, for these methods.
    OtherMethods(&'static str),
    Nothing,
}

/// The route of a request. Path parameters come decoded. As in OpenAPI, a path that is spelled out hides one with
/// parameters: a draw called `results` is found by `%72esults`.
pub fn find(method: &warp::http::Method, path: &str) -> Found {
    let mut others = (false, false);
    let spelled_out = ROUTES.iter().any(|route| route.path == path);
    for route in ROUTES.iter().filter(|route| !spelled_out || route.path == path) {
        let Some(parameters) = parameters(route.path, path) else { continue };
        let fits = match route.method {
            Method::Get => method == warp::http::Method::GET || method == warp::http::Method::HEAD,
            Method::Post => method == warp::http::Method::POST,
        };
        if fits {
            return Found::Route(route, parameters);
        }
        match route.method {
            Method::Get => others.0 = true,
            Method::Post => others.1 = true,
        }
    }
    match others {
        (true, true) => Found::OtherMethods("GET, HEAD, POST"),
        (true, false) => Found::OtherMethods("GET, HEAD"),
        (false, true) => Found::OtherMethods("POST"),
        (false, false) => Found::Nothing,
    }
}

fn parameters(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(part), Some(text)) if part.starts_with('{') => {
                let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
                parameters.push(decoded.into_owned());
            }
            (Some(part), Some(text)) if part == text => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::Method as M;

    #[test]
    fn a_path_leads_to_its_route_with_decoded_parameters() {
        for (method, path, wanted) in [
            (M::GET, "/v1/orders", "listOrders "),
            (M::POST, "/v1/orders", "placeOrder "),
            (M::GET, "/v1/orders/a%2Fb+c", "getOrder a/b+c"),
            (M::POST, "/v1/orders/o/cancel", "cancelOrder o"),
            (M::GET, "/v1/statements/p/2017-11/explanation", "explainStatement p 2017-11"),
            (M::HEAD, "/healthz", "isAlive "),
            (M::DELETE, "/v1/orders", "none but GET, HEAD, POST"),
            (M::GET, "/v1/draws/results", "none but POST"),
            (M::GET, "/v1/draws/%72esults", "getDraw results"),
            (M::GET, "/v1/orders/", "getOrder "),
            (M::GET, "/v2/orders", "nothing"),
        ] {
            let found = match find(&method, path) {
                Found::Route(route, parameters) => format!("{} {}", route.id, parameters.join(" ")),
                Found::OtherMethods(methods) => format!("none but {methods}"),
                Found::Nothing => "nothing".to_owned(),
            };
            assert_eq!(found, wanted, "{method} {path}");
        }
    }
}
