//! Rules in the annotation of a stream: no panic, and whatever is accepted chooses no more tags than it may.

#![no_main]

use imagestream_api::follow_rules::{MAX_NEWEST, MAX_RULES, RULES_ANNOTATION, Selection, rules};
use imagestream_api::types::ObjectMeta;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let metadata = ObjectMeta {
        annotations: Some([(RULES_ANNOTATION.to_owned(), text.to_owned())].into()),
        ..ObjectMeta::default()
    };
    match rules(&metadata) {
        Ok(rules) => {
            assert!(rules.len() <= MAX_RULES);
            for rule in &rules {
                assert!(rule.newest <= MAX_NEWEST);
                let mut selection = Selection::new(rule);
                for tag in ["latest", "v1.2.3", "1.2-rc.1", "22.04", text] {
                    selection.add(tag);
                }
                assert!(selection.finish().len() <= rule.newest);
            }
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
});
