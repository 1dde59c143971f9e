//! The OpenAPI document of an API, made from the types of its answers. Only tests make one: they write the committed document, which the
//! API serves, and hold the routes and their answers to it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it, and a test may fail loudly"
)]

use crate::ErrorBody;
use axum::Router;
use jsonschema::Validator;
use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};
use stepwell::core::plan::Plan;

/// An operation of an API: its method in small letters, and its path as the router has it, such as `/tasks/{task_id}`.
pub type Route = (String, String);

/// An OpenAPI document in the making.
#[derive(Debug)]
pub struct Document {
    schemas: SchemaGenerator,
    json: Value,
    /// The statuses with which any operation may be refused.
    refusals: Vec<u16>,
}

/// The meaning of each status with which a request is refused.
const REFUSALS: [(u16, &str); 12] = [
    (400, "The request cannot be read: a header is malformed, or the body is not JSON or has a key twice."),
    (401, "The request has no token, or a wrong one."),
    (403, "The request came with nobody's signature or token, or from a page of another site."),
    (404, "There is no such thing, or the request may not see it."),
    (409, "The state does not allow it, or the idempotency key was used with another request."),
    (413, "The body is too large."),
    (415, "The body has a media type that is never JSON."),
    (422, "A field is wrong, unknown or missing; `details` has the path of each."),
    (429, "There were too many in a short time."),
    (500, "Something went wrong on our side."),
    (502, "The e-mail service has refused it."),
    (503, "Something does not answer right now; nothing was done, unless the operation says otherwise."),
];

/// The description of one operation.
#[derive(Debug)]
pub struct Operation<'a> {
    schemas: &'a mut SchemaGenerator,
    json: &'a mut Value,
}

impl Document {
    /// Begins a document with these fields, such as `info` and `tags`. Each of its operations may be refused with these statuses.
    pub fn new(json: Value, refusals: impl Into<Vec<u16>>) -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { schemas: settings.into_generator(), json, refusals: refusals.into() }
    }

    /// Adds an operation: its method in small letters, its path as the router has it, its id, its tag, and what it does. Each parameter of
    /// the path becomes one of the operation: a UUID if its name ends in `_id`, otherwise the name of a
    /// workflow or of a step.
    pub fn operation(&mut self, (method, path): (&str, &str), id: &str, tag: &str, summary: &str) -> Operation<'_> {
        let json = &mut self.json["paths"][path][method];
        assert!(json.is_null(), "{method} {path} is described twice");
        *json = json!({"operationId": id, "tags": [tag], "summary": summary});
        let mut operation = Operation { schemas: &mut self.schemas, json };
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let schema = match name.ends_with("_id") {
                true => json!({"type": "string", "format": "uuid"}),
                false => {
                    json!({"type": "string", "minLength": 1, "maxLength": Plan::MAX_NAME_LENGTH, "pattern": "^[A-Za-z0-9_-]+$"})
                }
            };
            operation = operation.parameter(json!({"in": "path", "name": name, "required": true, "schema": schema}));
        }
        self.refusals.iter().fold(operation, |operation, status| operation.refused(*status))
    }

    /// The described operations.
    pub fn routes(&self) -> BTreeSet<Route> {
        let paths = self.json["paths"].as_object().unwrap();
        let of_path = |(path, item): (&String, &Value)| -> Vec<Route> {
            item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())).collect()
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// The document as it is committed.
    pub fn finish(mut self) -> String {
        let error = self.schemas.subschema_for::<ErrorBody>();
        let used = serde_json::to_string(&self.json["paths"]).unwrap();
        let is_used = |(status, _): &(u16, _)| used.contains(&format!("#/components/responses/{status}\""));
        let refusal = |(status, description)| {
            let content = json!({"application/json": {"schema": error}});
            let mut refusal = json!({"description": description, "content": content});
            if matches!(status, 429 | 503) {
                refusal["headers"]["Retry-After"] =
                    json!({"description": "In seconds.", "schema": {"type": "integer"}});
            }
            (u16::to_string(&status), refusal)
        };
        let refusals: BTreeMap<String, Value> = REFUSALS.into_iter().filter(is_used).map(refusal).collect();
        let mut schemas = self.schemas.take_definitions(true);
        for schema in schemas.values_mut() {
            ForReaders.transform(schema.try_into().unwrap());
        }
        self.json["openapi"] = json!("3.1.0");
        self.json["components"]["responses"] = json!(refusals);
        self.json["components"]["schemas"] = schemas.into();
        serde_json::to_string_pretty(&self.json).unwrap() + "\n"
    }
}

/// Makes descriptions for those who read the document: the first paragraph of a type's documentation, without links to Rust.
struct ForReaders;

impl Transform for ForReaders {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::String(text)) = schema.get_mut("description") {
            let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
            // `[text](target)` becomes `text`, and `[text]` as well.
            let mut parts = paragraph.split('[');
            let begin = parts.next().unwrap_or_default().to_owned();
            *text = parts.fold(begin, |text, part| match part.split_once(']') {
                Some((link, rest)) if rest.starts_with('(') => text + link + rest.split_once(')').map_or("", |it| it.1),
                Some((link, rest)) => text + link + rest,
                None => text + part,
            });
        }
        transform_subschemas(self, schema);
    }
}

impl Operation<'_> {
    fn parameter(self, parameter: Value) -> Self {
        match &mut self.json["parameters"] {
            Value::Array(all) => all.push(parameter),
            none => *none = json!([parameter]),
        }
        self
    }

    fn response(&mut self, status: u16) -> &mut Value {
        &mut self.json["responses"][status.to_string()]
    }

    /// Says more about the operation than its summary.
    pub fn description(self, text: &str) -> Self {
        self.json["description"] = json!(text);
        self
    }

    /// Needs none of the document's security schemes.
    pub fn open_to_all(self) -> Self {
        self.json["security"] = json!([]);
        self
    }

    /// Takes a field of the query, which may be missing.
    pub fn query(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter(json!({"in": "query", "name": name, "schema": schema, "description": description}))
    }

    /// Takes a header, which may be missing.
    pub fn header(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter(json!({"in": "header", "name": name, "schema": schema, "description": description}))
    }

    /// Needs a header.
    #[must_use]
    pub fn needs_header(self, name: &str, schema: Value, description: &str) -> Self {
        let parameter =
            json!({"in": "header", "name": name, "required": true, "schema": schema, "description": description});
        self.parameter(parameter)
    }

    /// Takes a JSON body of this schema, with examples by name.
    pub fn body(self, is_required: bool, schema: Value, examples: &[(&str, Value)]) -> Self {
        let examples: BTreeMap<&str, Value> =
            examples.iter().map(|(name, value)| (*name, json!({"value": value}))).collect();
        let content = json!({"application/json": {"schema": schema, "examples": examples}});
        self.json["requestBody"] = json!({"required": is_required, "content": content});
        [400, 413, 415, 422].into_iter().fold(self, Self::refused)
    }

    /// Answers with this type as JSON.
    pub fn answers<T: JsonSchema>(self, status: u16, description: &str) -> Self {
        let schema = self.schemas.subschema_for::<T>().to_value();
        self.answers_with(status, description, "application/json", schema)
    }

    /// Answers with this media type, or with another one that is described as well.
    pub fn answers_with(mut self, status: u16, description: &str, media_type: &str, schema: Value) -> Self {
        let response = self.response(status);
        response["description"] = json!(description);
        response["content"][media_type]["schema"] = schema;
        self
    }

    /// Answers without a body.
    pub fn answers_nothing(mut self, status: u16, description: &str) -> Self {
        *self.response(status) = json!({"description": description});
        self
    }

    /// Sends this header with the answer.
    pub fn answers_header(mut self, status: u16, name: &str, schema: Value, description: &str) -> Self {
        self.response(status)["headers"][name] = json!({"description": description, "schema": schema});
        self
    }

    /// Says which operation may follow an answer, with its parameters as runtime expressions.
    pub fn link(mut self, status: u16, operation: &str, parameters: Value) -> Self {
        self.response(status)["links"][operation] = json!({"operationId": operation, "parameters": parameters});
        self
    }

    /// May be refused with this status.
    pub fn refused(mut self, status: u16) -> Self {
        assert!(REFUSALS.iter().any(|(known, _)| *known == status), "nothing says what a refusal with {status} means");
        *self.response(status) = json!({"$ref": format!("#/components/responses/{status}")});
        self
    }
}

/// The routes of a router. Only `Debug` lists them: `RouteId(1): MethodRouter(MethodRouter { get: Route, head: None, ..., fallback: ...})`,
/// and then `paths: {RouteId(1): "/tasks", ...}`.
///
/// # Panics
/// axum's `Debug` prints another form.
pub fn routes(router: &Router) -> BTreeSet<Route> {
    let text = format!("{router:?}");
    let (routes, _) = text.split_once("fallback_router").unwrap();
    let (methods, paths) = routes.split_once("paths: {").unwrap();
    let by_id = |text: &str| -> BTreeMap<String, String> {
        let entries = text.split("RouteId(").skip(1).map(|entry| entry.split_once("): ").unwrap());
        entries.map(|(id, rest)| (id.to_owned(), rest.to_owned())).collect()
    };
    let paths = by_id(paths);
    let routes = by_id(methods).into_iter().flat_map(|(id, methods)| {
        let path = paths[&id].split('"').nth(1).unwrap().to_owned();
        let (_, methods) = methods.split_once("(MethodRouter { ").unwrap();
        let (methods, _) = methods.split_once(", fallback: ").unwrap();
        let methods = methods.split(", ").map(|method| method.split_once(": ").unwrap());
        let present: Vec<Route> = methods
            .filter(|(_, handler)| *handler != "None")
            .map(|(method, _)| (method.to_owned(), path.clone()))
            .collect();
        present
    });
    routes.collect()
}

/// A document, as the contract that answers are held to.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    /// By the JSON pointer to the response.
    validators: Mutex<BTreeMap<String, Validator>>,
}

impl Contract {
    /// Reads a document.
    ///
    /// # Panics
    /// It is not JSON.
    pub fn of(document: &str) -> Self {
        Self { document: serde_json::from_str(document).unwrap(), validators: Mutex::default() }
    }

    /// Checks that the document describes an answer: its operation, its status, its media type or that it has none, and if that is JSON, its body. Paths that
    /// the document does not have are no operations, and have to be refused.
    ///
    /// # Panics
    /// It does not.
    pub fn check(&self, method: &str, path: &str, status: u16, media_type: &str, body: &str) {
        let path = path.split('?').next().unwrap_or_default();
        let what = || format!("{method} {path} answered {status} {media_type} {body}");
        let Some((template, item)) = self.path(path) else { return assert!(status >= 400, "{}", what()) };
        let method = method.to_ascii_lowercase();
        if item[&method].is_null() {
            // HEAD is answered as GET is.
            return assert!(status == 405 || method == "head", "{}", what());
        }
        let escaped = template.replace('~', "~0").replace('/', "~1");
        let described = format!("/paths/{escaped}/{method}/responses/{status}");
        let response = self.document.pointer(&described);
        let pointer = match response.and_then(|response| response["$ref"].as_str()) {
            Some(refusal) => refusal.trim_start_matches('#').to_owned(),
            None => described,
        };
        let Some(response) = self.document.pointer(&pointer) else { panic!("{}, which is not described", what()) };
        let media_type = media_type.split(';').next().unwrap_or_default();
        if response["content"].is_null() {
            return assert!(media_type.is_empty() && body.is_empty(), "{}, which is described without a body", what());
        }
        assert!(!response["content"][media_type].is_null(), "{}, a media type that is not described", what());
        if media_type != "application/json" {
            return;
        }
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let validator = validators.entry(pointer).or_insert_with(|| {
            let schema = &response["content"][media_type]["schema"];
            let root = json!({"components": self.document["components"], "allOf": [schema]});
            jsonschema::validator_for(&root).unwrap()
        });
        let body = serde_json::from_str(body).unwrap();
        let problems: Vec<String> =
            validator.iter_errors(&body).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert!(problems.is_empty(), "{}, which is described otherwise: {problems:#?}", what());
    }

    /// The most literal template that this path fits, as the router chooses it.
    fn path(&self, path: &str) -> Option<(&str, &Value)> {
        let is_parameter = |part: &str| part.starts_with('{');
        let fits = |template: &str| {
            let (mut ours, mut theirs) = (template.split('/'), path.split('/'));
            loop {
                match (ours.next(), theirs.next()) {
                    (None, None) => return true,
                    (Some(ours), Some(theirs)) if ours == theirs || is_parameter(ours) && !theirs.is_empty() => {}
                    _ => return false,
                }
            }
        };
        let paths = self.document["paths"].as_object().unwrap();
        let fitting = paths.iter().filter(|(template, _)| fits(template));
        let parameters = |template: &str| template.split('/').map(is_parameter).collect::<Vec<bool>>();
        fitting.min_by_key(|(template, _)| parameters(template)).map(|(template, item)| (template.as_str(), item))
    }
}
