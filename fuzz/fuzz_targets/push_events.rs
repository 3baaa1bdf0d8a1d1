//! Events of registries in every format: no panic, and nothing but tags comes out, within the bounds.

#![no_main]

use imagestream_api::reference::ImageReference;
use imagestream_registry::push_events::{Format, MAX_PUSHES, parse};
use libfuzzer_sys::fuzz_target;

const FORMATS: [Format; 5] = [
    Format::Distribution,
    Format::DockerHub,
    Format::Quay,
    Format::Harbor,
    Format::Github,
];

fuzz_target!(|body: &[u8]| {
    for format in FORMATS {
        match parse(format, body) {
            Ok(pushes) => {
                assert!(pushes.len() <= MAX_PUSHES);
                for pushed in pushes {
                    let text = format!("r.test/{}:{}", pushed.repository, pushed.tag);
                    let reference = ImageReference::parse(&text).expect("only references come out");
                    assert_eq!(reference.tag, pushed.tag);
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
