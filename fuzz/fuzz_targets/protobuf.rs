//! Objects in protobuf: no panic, and what can be read is read the same after it was written again.

#![no_main]

use imagestream_apiserver::protobuf::{Envelope, object};
use imagestream_apiserver::schema::meta::{DELETE_OPTIONS, OBJECT_META, STATUS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    // Most bytes don't begin as an object does.
    let wrapped = [b"k8s\0", body].concat();
    let Ok(envelope) = Envelope::open(&wrapped) else {
        return;
    };
    // Opaque JSON may have numbers that change when they are written again.
    let _ = envelope.read(&OBJECT_META);
    for schema in [&STATUS, &DELETE_OPTIONS] {
        if let Ok(read) = envelope.read(schema) {
            let written = object(&read, schema);
            let again = Envelope::open(&written).and_then(|envelope| envelope.read(schema));
            assert_eq!(again, Ok(read));
        }
    }
});
