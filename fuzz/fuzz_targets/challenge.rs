//! `WWW-Authenticate` headers: no panic, and no more challenges than are looked at.

#![no_main]

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;

// The parser is private to the transport; it stands alone, so it is compiled in here.
#[path = "../../crates/registry/src/transport/challenge.rs"]
mod challenge;

fuzz_target!(|values: Vec<Vec<u8>>| {
    let mut headers = HeaderMap::new();
    for value in values.iter().take(100) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let found = challenge::challenges(&headers);
    assert!(found.len() <= 16);
    for challenge in &found {
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        let _ = (challenge.parameter("realm"), challenge.parameter("scope"));
    }
    let _ = challenge::bearer_error(&found);
});
