//! The section `[api]` as the API takes it.

use crate::config::Config;
use api::{ApiSettings, AuthSettings, JwtSettings, Shop};

/// What the configuration says; `shop` is the demo's.
pub fn settings(config: &Config, shop: Option<Shop>) -> ApiSettings {
    let api = &config.api;
    ApiSettings {
        auth: AuthSettings {
            open: api.open,
            keys_file: api.keys_file.clone(),
            jwt: JwtSettings {
                jwks_file: api.jwks_file.clone(),
                jwks_url: api.jwks_url.clone(),
                secret_file: api.jwt_secret_file.clone(),
                issuer: api.jwt_issuer.clone(),
                audience: api.jwt_audience.clone(),
            },
        },
        body_bytes_max: api.body_bytes_max,
        request_ms_max: api.request_ms_max,
        wait_ms_max: api.wait_ms_max,
        in_flight_max: api.in_flight_max,
        requests_per_s_max: api.requests_per_s_max,
        connections_max: api.connections_max,
        live_max: api.live_max,
        live_of_one_max: api.live_of_one_max,
        readers: api.readers,
        frontier_age_ms_max: api.frontier_age_ms_max,
        order_retention_ms: config.orders.order_retention_ms,
        shop,
    }
}
