//! Image references: what is accepted can be written and read again.

#![no_main]

use imagestream_api::reference::{ImageReference, normalise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = ImageReference::parse(text) else {
        return;
    };
    let _ = (
        reference.minimal(),
        reference.most_specific(),
        reference.registry_url(),
    );
    let defaulted = reference.defaulted();
    assert_eq!(defaulted.defaulted(), defaulted);
    let exact = reference.exact();
    if reference.name.is_empty() {
        assert_eq!(exact, "");
        return;
    }
    let again = ImageReference::parse(&exact).expect("an exact form is a reference");
    assert_eq!(again.exact(), exact);
    if let Ok(normalised) = reference.normalised() {
        assert_eq!(normalise(&normalised).as_ref(), Ok(&normalised));
    }
});
