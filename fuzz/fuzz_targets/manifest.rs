//! Manifests of every format: no panic, and the bounds hold.

#![no_main]

use imagestream_registry::distribution::{ACCEPT, MAX_LAYERS, MAX_MEMBERS, Manifest, Schema1, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for content_type in ACCEPT {
        match parse(content_type, body) {
            Ok(Manifest::Image(image)) => {
                assert_eq!(image.media_type, content_type);
                assert!(image.layers.len() <= MAX_LAYERS);
                assert!(
                    image
                        .layers
                        .iter()
                        .chain([&image.config])
                        .all(|descriptor| descriptor.size >= 0)
                );
            }
            Ok(Manifest::Index(index)) => {
                assert_eq!(index.media_type, content_type);
                assert!(index.manifests.len() <= MAX_MEMBERS);
                assert!(index.manifests.iter().all(|member| member.size >= 0));
            }
            Ok(Manifest::Schema1(manifest)) => assert!(manifest.fs_layers.len() <= MAX_LAYERS),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    if let Ok(manifest) = Schema1::from_payload(body) {
        assert!(manifest.payload_digest.verifies(body));
    }
});
