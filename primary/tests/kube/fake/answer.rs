//! What the server says to a request.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Collection, FakeApi, Mood, State};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

pub(super) async fn answer(api: FakeApi, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let method = request.method().clone();
    let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("").to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (mood, known) = {
        let mut state = api.lock();
        let watch = if query.contains("watch=true") { "WATCH" } else { method.as_str() };
        state.requests.push(format!("{watch} {path}?{query}"));
        let mood = state.moods.iter().find(|(of, _)| path.contains(of)).map(|(_, m)| m.clone());
        (mood.unwrap_or_default(), state.tokens.contains(&token))
    };
    Ok(match mood {
        Mood::Kind if !known => refuse(401, "Unauthorized"),
        Mood::Kind => kind(api, &path, &query, method.as_str(), &body),
        Mood::Hang => std::future::pending().await,
        Mood::Status(code, message) => refuse(code, message),
        Mood::Echo => refuse(403, &format!("you sent {token}")),
        Mood::Html => {
            let page = Full::from("<html>welcome</html>").boxed_unsync();
            Response::builder().header("content-type", "text/html").body(page).unwrap()
        }
        Mood::Redirect(to) => {
            let builder = Response::builder().status(302).header("location", to);
            builder.body(Full::default().boxed_unsync()).unwrap()
        }
        Mood::Packed => {
            let mut answer = json_answer(200, &json!({}));
            answer.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            answer
        }
        Mood::Drip(pause) => drip(pause),
        Mood::Bytes(bytes) => {
            let body = Full::from(bytes).boxed_unsync();
            Response::builder().header("content-type", "application/json").body(body).unwrap()
        }
    })
}

fn json_answer(code: u16, value: &Value) -> Answer {
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .header("content-type", "application/json")
        .body(Full::from(value.to_string()).boxed_unsync())
        .unwrap()
}

fn refuse(code: u16, message: &str) -> Answer {
    json_answer(code, &status(code, message))
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "code": code})
}

fn drip(pause: Duration) -> Answer {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while sender.send(Ok(Frame::data(Bytes::from_static(b" ")))).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    });
    streamed(receiver)
}

fn streamed(receiver: mpsc::Receiver<Result<Frame<Bytes>, Infallible>>) -> Answer {
    let body = StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync();
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

fn kind(api: FakeApi, path: &str, query: &str, method: &str, body: &[u8]) -> Answer {
    if path.ends_with("/tokenreviews") {
        let review = api.lock().review.clone();
        return json_answer(201, &review.unwrap_or_else(|| serde_json::from_slice(body).unwrap()));
    }
    let state = api.lock();
    let Some((collection, namespace, name)) = state.place(path) else {
        return state.resources(path);
    };
    if state.forbidden.contains(collection) {
        return refuse(403, &format!("{collection} is forbidden"));
    }
    if query.contains("watch=true") {
        drop(state);
        return watch(api, collection, namespace, query);
    }
    match (method, name.clone()) {
        ("GET", None) => state.list(collection, namespace.as_deref(), query),
        ("GET", Some(name)) => state.get(collection, namespace, name),
        _ => {
            drop(state);
            write(&api, collection, namespace, name, method, body)
        }
    }
}

fn write(
    api: &FakeApi,
    collection: Collection,
    namespace: Option<String>,
    name: Option<String>,
    method: &str,
    body: &[u8],
) -> Answer {
    let mut object: Value = serde_json::from_slice(body).unwrap();
    let name = name.or_else(|| object["metadata"]["name"].as_str().map(Into::into)).unwrap();
    let key = (collection, namespace.clone().unwrap_or_default(), name.clone());
    let known = api.lock().objects.get(&key).cloned();
    match (method, &known) {
        ("POST", Some(_)) => return refuse(409, "already exists"),
        ("PUT" | "PATCH", None) => return refuse(404, "not found"),
        ("PUT", Some(known)) => {
            let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
            if !version(&object).is_null() && version(&object) != version(known) {
                return refuse(409, "the object has been modified");
            }
        }
        ("PATCH", Some(known)) => {
            let mut merged = known.clone();
            merge(&mut merged, &object);
            object = merged;
        }
        _ => {}
    }
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object["metadata"]["name"] = json!(name);
    api.put(collection, object);
    json_answer(200, &api.lock().objects[&key])
}

/// RFC 7386, and lists of named things as Kubernetes merges them.
fn merge(into: &mut Value, patch: &Value) {
    let named = |list: &Value| list[0]["name"].is_string();
    if let (Value::Array(known), Value::Array(patches)) = (&mut *into, patch)
        && named(patch)
    {
        for patch in patches {
            match known.iter_mut().find(|one| one["name"] == patch["name"]) {
                Some(one) => merge(one, patch),
                None => known.push(patch.clone()),
            }
        }
        return;
    }
    let Value::Object(entries) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in entries {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn watch(api: FakeApi, collection: Collection, namespace: Option<String>, query: &str) -> Answer {
    let from = parameter(query, "resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
    let seconds = parameter(query, "timeoutSeconds").and_then(|text| text.parse().ok());
    let ends = tokio::time::Instant::now() + Duration::from_secs(seconds.unwrap_or(300));
    let (sender, receiver) = mpsc::channel(16);
    *api.lock().watches.entry(collection).or_default() += 1;
    tokio::spawn(async move {
        let said = async { say(&api, collection, namespace, from, &sender).await };
        tokio::select! {
            () = said => {}
            () = sender.closed() => {}
            () = tokio::time::sleep_until(ends) => {}
        }
        *api.lock().watches.get_mut(collection).unwrap() -= 1;
    });
    streamed(receiver)
}

async fn say(
    api: &FakeApi,
    collection: Collection,
    namespace: Option<String>,
    mut from: u64,
    sender: &mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
) {
    let mut changed = api.changed.subscribe();
    let begun = api.lock().ending.get(collection).copied();
    loop {
        if api.lock().ending.get(collection).copied() != begun {
            return;
        }
        let lines = api.lock().lines(collection, namespace.as_deref(), &mut from);
        for line in lines {
            let gone = line.contains("\"ERROR\"");
            if sender.send(Ok(Frame::data(format!("{line}\n").into()))).await.is_err() || gone {
                return;
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

impl State {
    fn place(&self, path: &str) -> Option<(Collection, Option<String>, Option<String>)> {
        let installed = self.installed.iter();
        installed.copied().find_map(|collection| {
            let (group, plural) = collection.rsplit_once('/')?;
            let rest = path.strip_prefix(group)?.strip_prefix('/')?;
            if let Some(rest) = rest.strip_prefix("namespaces/")
                && let Some((namespace, rest)) = rest.split_once('/')
            {
                let rest = rest.strip_prefix(plural)?;
                return Some((collection, Some(namespace.into()), named(rest)?));
            }
            Some((collection, None, named(rest.strip_prefix(plural)?)?))
        })
    }

    /// Discovery of a group, or nothing.
    fn resources(&self, path: &str) -> Answer {
        let of_group = |collection: &&Collection| {
            collection.rsplit_once('/').is_some_and(|(group, _)| group == path)
        };
        let found: Vec<Value> = self
            .installed
            .iter()
            .filter(of_group)
            .map(|collection| {
                let plural = collection.rsplit('/').next();
                json!({"name": plural, "singularName": "", "namespaced": true, "kind": "",
                    "verbs": ["get"]})
            })
            .collect();
        if found.is_empty() {
            return refuse(404, "the server could not find the requested resource");
        }
        json_answer(
            200,
            &json!({"kind": "APIResourceList", "groupVersion": "", "resources": found}),
        )
    }

    fn list(&self, collection: Collection, namespace: Option<&str>, query: &str) -> Answer {
        let field = parameter(query, "fieldSelector").unwrap_or_default();
        let only = field.strip_prefix("metadata.name%3D");
        let label = parameter(query, "labelSelector").unwrap_or_default();
        let all: Vec<&Value> = self
            .objects
            .iter()
            .filter(|((of, ns, name), object)| {
                *of == collection
                    && namespace.is_none_or(|wanted| wanted == ns)
                    && only.is_none_or(|wanted| wanted == name)
                    && (label.is_empty() || !object["metadata"]["labels"].is_null())
            })
            .map(|(_, object)| object)
            .collect();
        let limit = parameter(query, "limit").and_then(|text| text.parse().ok());
        let page = limit.unwrap_or(usize::MAX).min(self.page);
        let from = parameter(query, "continue").and_then(|text| text.parse().ok()).unwrap_or(0);
        let items: Vec<&&Value> = all.iter().skip(from).take(page).collect();
        let mut meta = json!({"resourceVersion": self.version.to_string()});
        if from + items.len() < all.len() {
            meta["continue"] = json!((from + items.len()).to_string());
        }
        json_answer(
            200,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": meta,
            "items": items}),
        )
    }

    fn get(&self, collection: Collection, namespace: Option<String>, name: String) -> Answer {
        match self.objects.get(&(collection, namespace.unwrap_or_default(), name)) {
            Some(object) => json_answer(200, object),
            None => refuse(404, "not found"),
        }
    }

    /// What a watch that is at `from` has to hear.
    fn lines(
        &self,
        collection: Collection,
        namespace: Option<&str>,
        from: &mut u64,
    ) -> Vec<String> {
        if self.mute {
            return Vec::new();
        }
        if *from < self.compacted {
            let error = json!({"type": "ERROR", "object": status(410, "too old resource version")});
            return vec![error.to_string()];
        }
        let mut lines = Vec::new();
        for (version, of, kind, object) in &self.log {
            if *version <= *from {
                continue;
            }
            let within = |ns: &str| object["metadata"]["namespace"] == ns;
            if *of == collection && namespace.is_none_or(within) {
                lines.push(json!({"type": kind, "object": object}).to_string());
            }
        }
        if self.version > *from {
            *from = self.version;
            let meta = json!({"metadata": {"resourceVersion": self.version.to_string()}});
            lines.push(json!({"type": "BOOKMARK", "object": meta}).to_string());
        }
        lines
    }
}

/// What is behind the collection: nothing, or a name.
fn named(rest: &str) -> Option<Option<String>> {
    match rest.strip_prefix('/') {
        None => rest.is_empty().then_some(None),
        Some(name) => Some(Some(name.to_owned())),
    }
}
