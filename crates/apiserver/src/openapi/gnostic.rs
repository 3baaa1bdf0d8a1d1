//! Version 2 in protobuf, the only form that `kubectl` asks for: [gnostic's messages][1], written from the document
//! in JSON. What our documents never have is not known here.
//!
//! [1]: https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto

use serde_json::{Map, Value};

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// The beginning of a field that is so many bytes long.
    fn length(&mut self, field: u64, bytes: usize) {
        self.varint(field << 3 | 2);
        self.varint(bytes as u64);
    }

    fn message(mut self, field: u64, message: Self) -> Self {
        self.length(field, message.0.len());
        self.0.extend(message.0);
        self
    }

    /// One message for each value.
    fn messages(self, field: u64, messages: impl Iterator<Item = Self>) -> Self {
        messages.fold(self, |written, message| written.message(field, message))
    }

    fn string(mut self, field: u64, text: &str) -> Self {
        self.length(field, text.len());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// A member of an object that is a string, if it has it.
    fn text(self, field: u64, of: &Value, key: &str) -> Self {
        match of.get(key).and_then(Value::as_str) {
            Some(text) => self.string(field, text),
            None => self,
        }
    }

    /// A member of an object that is a list of strings, if it has it.
    fn texts(self, field: u64, of: &Value, key: &str) -> Self {
        let texts = of.get(key).and_then(Value::as_array).into_iter().flatten();
        texts
            .filter_map(Value::as_str)
            .fold(self, |written, text| written.string(field, text))
    }

    /// A member of an object that is `true`.
    fn flag(mut self, field: u64, of: &Value, key: &str) -> Self {
        if of.get(key).and_then(Value::as_bool) == Some(true) {
            self.varint(field << 3);
            self.varint(1);
        }
        self
    }

    /// A member of an object that is a message itself, if it has it.
    fn member(self, field: u64, of: &Value, key: &str, write: impl FnOnce(&Value) -> Self) -> Self {
        match of.get(key) {
            Some(value) => self.message(field, write(value)),
            None => self,
        }
    }

    /// The members of an object that are extensions.
    fn extensions(self, field: u64, of: &Value) -> Self {
        let members = members(of).filter(|(key, _)| key.starts_with("x-"));
        // JSON is YAML.
        self.messages(
            field,
            members.map(|(key, value)| named(key, Self::default().string(2, &value.to_string()))),
        )
    }
}

fn members(of: &Value) -> impl Iterator<Item = (&String, &Value)> {
    of.as_object().into_iter().flat_map(Map::iter)
}

fn items<'v>(of: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    of.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn named(name: &str, value: Message) -> Message {
    Message::default().string(1, name).message(2, value)
}

/// The members of an object in one message.
fn all(of: &Value, write: impl Fn(&Value) -> Message) -> Message {
    Message::default().messages(1, members(of).map(|(name, value)| named(name, write(value))))
}

/// A document of version 2.
pub(super) fn document(document: &Value) -> Vec<u8> {
    // No requirement of ours has scopes.
    let requirement = |requirement: &Value| all(requirement, |_| Message::default());
    Message::default()
        .text(1, document, "swagger")
        .member(2, document, "info", |info| {
            Message::default().text(1, info, "title").text(2, info, "version")
        })
        .member(8, document, "paths", |paths| {
            Message::default().messages(2, members(paths).map(|(path, item)| named(path, path_item(item))))
        })
        .member(9, document, "definitions", |definitions| all(definitions, schema))
        .member(10, document, "parameters", |parameters| {
            all(parameters, parameter)
        })
        .messages(12, items(document, "security").map(requirement))
        .member(13, document, "securityDefinitions", |definitions| {
            all(definitions, |definition| {
                let key = Message::default()
                    .text(1, definition, "type")
                    .text(2, definition, "name")
                    .text(3, definition, "in")
                    .text(4, definition, "description");
                Message::default().message(2, key)
            })
        })
        .0
}

fn path_item(item: &Value) -> Message {
    Message::default()
        .member(2, item, "get", operation)
        .member(3, item, "put", operation)
        .member(4, item, "post", operation)
        .member(5, item, "delete", operation)
        .member(8, item, "patch", operation)
        .messages(9, items(item, "parameters").map(parameter_or_reference))
}

fn operation(operation: &Value) -> Message {
    Message::default()
        .texts(1, operation, "tags")
        .text(3, operation, "description")
        .text(5, operation, "operationId")
        .texts(6, operation, "produces")
        .texts(7, operation, "consumes")
        .messages(8, items(operation, "parameters").map(parameter_or_reference))
        .member(9, operation, "responses", |responses| {
            all(responses, |response| {
                Message::default().message(1, self::response(response))
            })
        })
        .texts(10, operation, "schemes")
        .extensions(13, operation)
}

fn response(response: &Value) -> Message {
    Message::default()
        .text(1, response, "description")
        .member(2, response, "schema", |schema| {
            Message::default().message(1, self::schema(schema))
        })
}

fn parameter_or_reference(parameter: &Value) -> Message {
    if parameter.get("$ref").is_some() {
        let reference = Message::default().text(1, parameter, "$ref");
        Message::default().message(2, reference)
    } else {
        Message::default().message(1, self::parameter(parameter))
    }
}

fn parameter(parameter: &Value) -> Message {
    let place = parameter.get("in").and_then(Value::as_str);
    if place == Some("body") {
        let body = Message::default()
            .text(1, parameter, "description")
            .text(2, parameter, "name")
            .text(3, parameter, "in")
            .flag(4, parameter, "required")
            .member(5, parameter, "schema", schema);
        return Message::default().message(1, body);
    }
    let common = Message::default()
        .flag(1, parameter, "required")
        .text(2, parameter, "in")
        .text(3, parameter, "description")
        .text(4, parameter, "name");
    let other = if place == Some("path") {
        let path = common
            .text(5, parameter, "type")
            .flag(19, parameter, "uniqueItems");
        Message::default().message(4, path)
    } else {
        let query = common
            .text(6, parameter, "type")
            .flag(20, parameter, "uniqueItems");
        Message::default().message(3, query)
    };
    Message::default().message(2, other)
}

fn schema(schema: &Value) -> Message {
    Message::default()
        .text(1, schema, "$ref")
        .text(2, schema, "format")
        .text(4, schema, "description")
        .texts(19, schema, "required")
        .member(21, schema, "additionalProperties", |values| {
            Message::default().message(1, self::schema(values))
        })
        .member(22, schema, "type", |kind| {
            kind.as_str()
                .map(|kind| Message::default().string(1, kind))
                .unwrap_or_default()
        })
        .member(23, schema, "items", |items| {
            Message::default().message(1, self::schema(items))
        })
        .member(25, schema, "properties", |properties| {
            all(properties, self::schema)
        })
        .extensions(31, schema)
}
