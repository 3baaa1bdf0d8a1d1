//! Pull secrets: no panic, a refused document leaves nothing behind, and lookups end.

#![no_main]

use imagestream_registry::keychain::Keychain;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (document, reference) = input;
    let mut keychain = Keychain::default();
    if keychain.add_dockerconfigjson(document).is_err() {
        assert!(keychain.is_empty());
    }
    let _ = keychain.add_dockercfg(document);
    assert!(keychain.lookup(reference).is_none() || !keychain.is_empty());
});
