//! The OpenAI API as vLLM speaks it: requests, answers, errors.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use gipfel_model::ApiEndpoint;
use http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::{Value, json};

use crate::{model::StepLaw, stream::Chunks};

/// The text of every token.
const WORD: &str = " peak";

/// The body of a request, as far as the simulator cares; other fields are accepted.
#[derive(Debug, Deserialize)]
struct RequestBody<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    messages: Option<Vec<Message>>,
    prompt: Option<WordCount>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: WordCount,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// White-space separated words of a string, or of the `text` of each part; the text itself is not kept.
#[derive(Clone, Copy, Debug, Default)]
struct WordCount(u64);

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: WordCount,
}

impl<'de> Deserialize<'de> for WordCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordCounter)
    }
}

struct WordCounter;

impl<'de> Visitor<'de> for WordCounter {
    type Value = WordCount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of parts")
    }

    fn visit_str<E>(self, text: &str) -> Result<WordCount, E> {
        Ok(WordCount(text.split_whitespace().count() as u64))
    }

    fn visit_unit<E>(self) -> Result<WordCount, E> {
        Ok(WordCount(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<WordCount, A::Error> {
        let mut words = 0;
        while let Some(part) = parts.next_element::<Part>()? {
            words += part.text.0;
        }
        Ok(WordCount(words))
    }
}

/// What is asked of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApiRequest {
    pub(crate) api: ApiEndpoint,
    pub(crate) prompt: u32,
    pub(crate) output: u32,
    /// Tokens of the prompt that a prefix cache holds.
    pub(crate) cached: u32,
    /// The answer ends before its length, by choice.
    pub(crate) stops_early: bool,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

impl ApiRequest {
    /// Ends the answer at half its length, whatever the request says of the end of a sequence.
    pub(crate) fn stop_early(&mut self) {
        if self.output > 1 {
            self.output /= 2;
            self.stops_early = true;
        }
    }

    fn finish_reason(&self) -> &'static str {
        if self.stops_early { "stop" } else { "length" }
    }
}

/// An answer other than 200.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &str, message: &str, parameter: Option<&str>) -> Self {
        let code = status.as_u16();
        Self {
            status,
            body: json!({"error": {"message": message, "type": kind, "param": parameter, "code": code}}),
        }
    }

    fn bad_request(message: &str, parameter: Option<&str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestError", message, parameter)
    }

    /// What a request gets that is drawn to fail.
    pub(crate) fn refused() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "this request failed as asked for",
            None,
        )
    }

    /// What every request gets once the engine has failed by choice.
    pub(crate) fn engine_dead() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "EngineCore encountered an issue: it failed as asked for",
            None,
        )
    }
}

/// The server's own facts that a request is read against.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) model: String,
    pub(crate) law: StepLaw,
    /// Tokens of an answer whose request sets no limit.
    pub(crate) default_output: u32,
}

/// Reads and checks a request to an API. An empty prompt counts as one token.
pub(crate) fn read_request(api: ApiEndpoint, body: &[u8], served: &Served) -> Result<ApiRequest, ApiError> {
    let body: RequestBody<'_> = serde_json::from_slice(body).map_err(|error| {
        let message = format!("1 validation error: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "Bad Request", &message, None)
    })?;
    if let Some(model) = body.model.as_deref().filter(|model| *model != served.model) {
        let message = format!(
            "The model `{model}` does not exist. Valid aliases: {}",
            served.model
        );
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "NotFoundError",
            &message,
            Some("model"),
        ));
    }
    let words = read_words(api, &body)?;
    if body.n.is_some_and(|n| n != 1) {
        return Err(ApiError::bad_request(
            "the simulator answers n = 1 only",
            Some("n"),
        ));
    }
    let stream = body.stream.unwrap_or(false);
    if body.stream_options.is_some() && !stream {
        let message = "Stream options can only be defined when `stream=True`.";
        return Err(ApiError::bad_request(message, Some("stream_options")));
    }
    let prompt = u32::try_from(words.max(1)).unwrap_or(u32::MAX);
    let output = read_output(&body, served)?;
    served
        .law
        .check(prompt, output)
        .map_err(|error| ApiError::bad_request(&error.to_string(), Some("input_tokens")))?;
    Ok(ApiRequest {
        api,
        prompt,
        output,
        cached: 0,
        stops_early: false,
        stream,
        include_usage: body.stream_options.is_some_and(|options| options.include_usage),
    })
}

fn read_words(api: ApiEndpoint, body: &RequestBody<'_>) -> Result<u64, ApiError> {
    let missing = |name: &str| {
        let message = format!("1 validation error: missing field `{name}`");
        ApiError::new(StatusCode::BAD_REQUEST, "Bad Request", &message, Some(name))
    };
    match (api, &body.messages, body.prompt) {
        (ApiEndpoint::Chat, None, _) => Err(missing("messages")),
        (ApiEndpoint::Chat, Some(messages), _) if messages.is_empty() => Err(ApiError::bad_request(
            "messages must not be empty",
            Some("messages"),
        )),
        (ApiEndpoint::Chat, Some(messages), _) => Ok(messages.iter().map(|message| message.content.0).sum()),
        (ApiEndpoint::Completions, _, None) => Err(missing("prompt")),
        (ApiEndpoint::Completions, _, Some(words)) => Ok(words.0),
    }
}

fn read_output(body: &RequestBody<'_>, served: &Served) -> Result<u32, ApiError> {
    match body.max_completion_tokens.or(body.max_tokens) {
        None => Ok(served.default_output),
        Some(tokens) if tokens < 1 => {
            let message = format!("max_tokens must be at least 1, got {tokens}.");
            Err(ApiError::bad_request(&message, Some("max_tokens")))
        }
        Some(tokens) => Ok(u32::try_from(tokens).unwrap_or(u32::MAX)),
    }
}

/// What names an answer.
#[derive(Clone, Debug)]
pub(crate) struct AnswerHead<'a> {
    pub(crate) id: &'a str,
    pub(crate) created: u64,
    pub(crate) model: &'a str,
}

/// Renders all bytes of a streamed answer.
pub(crate) fn render_chunks(head: &AnswerHead<'_>, request: &ApiRequest) -> Chunks {
    // A model's name is arbitrary text.
    let model = Value::from(head.model);
    let object = match request.api {
        ApiEndpoint::Chat => "chat.completion.chunk",
        ApiEndpoint::Completions => "text_completion",
    };
    let opening = format!(
        r#"data: {{"id":"{}","object":"{object}","created":{},"model":{model},"choices":["#,
        head.id, head.created
    );
    let (role, text) = match request.api {
        ApiEndpoint::Chat => (
            format!(
                r#"{opening}{{"index":0,"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}]}}"#
            ) + "\n\n",
            format!(r#""delta":{{"content":"{WORD}"}}"#),
        ),
        ApiEndpoint::Completions => (String::new(), format!(r#""text":"{WORD}""#)),
    };
    let choice = format!(r#"{opening}{{"index":0,{text},"logprobs":null,"#);
    let token = format!(r#"{choice}"finish_reason":null}}]}}"#);
    let finish = format!(
        r#"{choice}"finish_reason":"{}","stop_reason":null}}]}}"#,
        request.finish_reason()
    );
    let usage = if request.include_usage {
        format!("{opening}],\"usage\":{}}}\n\n", usage(request))
    } else {
        String::new()
    };
    Chunks {
        role: Bytes::from(role),
        token: Bytes::from(token + "\n\n"),
        last: Bytes::from(format!("{finish}\n\n{usage}data: [DONE]\n\n")),
    }
}

/// The error event with which a stream ends by choice.
pub(crate) fn render_error_event() -> Bytes {
    let body = ApiError::engine_dead().body;
    Bytes::from(format!("data: {body}\n\ndata: [DONE]\n\n"))
}

/// The answer that is not streamed.
pub(crate) fn render_answer(head: &AnswerHead<'_>, request: &ApiRequest) -> Value {
    let content = WORD.repeat(request.output as usize);
    let mut choice = json!({
        "index": 0,
        "logprobs": null,
        "finish_reason": request.finish_reason(),
        "stop_reason": null,
    });
    let object = match request.api {
        ApiEndpoint::Chat => {
            choice["message"] = json!({"role": "assistant", "content": content});
            "chat.completion"
        }
        ApiEndpoint::Completions => {
            choice["text"] = Value::from(content);
            "text_completion"
        }
    };
    json!({
        "id": head.id,
        "object": object,
        "created": head.created,
        "model": head.model,
        "choices": [choice],
        "usage": usage(request),
    })
}

fn usage(request: &ApiRequest) -> Value {
    let mut usage = json!({
        "prompt_tokens": request.prompt,
        "total_tokens": u64::from(request.prompt) + u64::from(request.output),
        "completion_tokens": request.output,
    });
    if request.cached > 0 {
        usage["prompt_tokens_details"] = json!({"cached_tokens": request.cached});
    }
    usage
}

/// `/v1/models`.
pub(crate) fn render_models(served: &Served, created: u64) -> Value {
    json!({
        "object": "list",
        "data": [{
            "id": served.model,
            "object": "model",
            "created": created,
            "owned_by": "gipfel",
            "root": served.model,
            "parent": null,
            "max_model_len": served.law.kv_tokens,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::law;

    fn served() -> Served {
        Served {
            model: "m".to_owned(),
            law: law(),
            default_output: 7,
        }
    }

    fn read(body: &str) -> String {
        match read_request(ApiEndpoint::Chat, body.as_bytes(), &served()) {
            Ok(request) => format!("{request:?}"),
            Err(error) => format!("{} {}", error.status.as_u16(), error.body),
        }
    }

    #[test]
    fn words_are_tokens() {
        let check = |content: &str, expected: u32| {
            let body = format!(r#"{{"messages":[{{"role":"user","content":{content}}}],"max_tokens":1}}"#);
            let found =
                read_request(ApiEndpoint::Chat, body.as_bytes(), &served()).map(|request| request.prompt);
            assert_eq!(found, Ok(expected), "{content}");
        };
        check(r#""one two  three""#, 3);
        check(r#""a\nb\tc\u0020d é""#, 5);
        check(r#""""#, 1);
        check("null", 1);
        check(
            r#"[{"type":"text","text":"one two"},{"type":"image_url"},{"type":"text","text":"three"}]"#,
            3,
        );
    }

    #[test]
    fn requests_are_read() {
        let request = r#"{"model":"m","messages":[{"content":"a b"},{"content":"c"}],"ignore_eos":true"#;
        let check = |rest: &str| read(&format!("{request}{rest}}}"));
        insta::assert_snapshot!(check(""), @"ApiRequest { api: Chat, prompt: 3, output: 7, cached: 0, stops_early: false, stream: false, include_usage: false }");
        insta::assert_snapshot!(check(r#","max_tokens":5,"max_completion_tokens":4,"stream":true"#), @"ApiRequest { api: Chat, prompt: 3, output: 4, cached: 0, stops_early: false, stream: true, include_usage: false }");
        insta::assert_snapshot!(
            check(r#","max_tokens":5,"stream":true,"stream_options":{"include_usage":true}"#),
            @"ApiRequest { api: Chat, prompt: 3, output: 5, cached: 0, stops_early: false, stream: true, include_usage: true }");
    }

    #[test]
    fn faults_are_answered_as_vllm_does() {
        insta::assert_snapshot!(read("{"), @r#"400 {"error":{"code":400,"message":"1 validation error: EOF while parsing an object at line 1 column 1","param":null,"type":"Bad Request"}}"#);
        insta::assert_snapshot!(read(r#"{"messages":3}"#), @r#"400 {"error":{"code":400,"message":"1 validation error: invalid type: integer `3`, expected a sequence at line 1 column 13","param":null,"type":"Bad Request"}}"#);
        insta::assert_snapshot!(read(r#"{"model":"x","messages":[{"content":"a"}]}"#), @r#"404 {"error":{"code":404,"message":"The model `x` does not exist. Valid aliases: m","param":"model","type":"NotFoundError"}}"#);
        insta::assert_snapshot!(read(r#"{"messages":[{"content":"a"}],"max_tokens":0}"#), @r#"400 {"error":{"code":400,"message":"max_tokens must be at least 1, got 0.","param":"max_tokens","type":"BadRequestError"}}"#);
        insta::assert_snapshot!(read(r#"{"messages":[{"content":"a"}],"max_tokens":1000}"#), @r#"400 {"error":{"code":400,"message":"1 prompt tokens and 1000 answer tokens exceed the 1000 tokens of the KV cache","param":"input_tokens","type":"BadRequestError"}}"#);
        insta::assert_snapshot!(read(r#"{"messages":[]}"#), @r#"400 {"error":{"code":400,"message":"messages must not be empty","param":"messages","type":"BadRequestError"}}"#);
        insta::assert_snapshot!(read(r#"{"messages":[{"content":"a"}],"n":2}"#), @r#"400 {"error":{"code":400,"message":"the simulator answers n = 1 only","param":"n","type":"BadRequestError"}}"#);
        insta::assert_snapshot!(read(r#"{"messages":[{"content":"a"}],"stream_options":{}}"#), @r#"400 {"error":{"code":400,"message":"Stream options can only be defined when `stream=True`.","param":"stream_options","type":"BadRequestError"}}"#);
    }

    #[test]
    fn a_stream_has_the_form_of_vllms() {
        let head = AnswerHead {
            id: "chatcmpl-1",
            created: 9,
            model: "a\"b",
        };
        let request = ApiRequest {
            api: ApiEndpoint::Chat,
            prompt: 3,
            output: 2,
            cached: 0,
            stops_early: false,
            stream: true,
            include_usage: true,
        };
        let chunks = render_chunks(&head, &request);
        let stream = [chunks.role, chunks.token, chunks.last].concat();
        insta::assert_snapshot!(String::from_utf8_lossy(&stream), @r#"
        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":9,"model":"a\"b","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":9,"model":"a\"b","choices":[{"index":0,"delta":{"content":" peak"},"logprobs":null,"finish_reason":null}]}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":9,"model":"a\"b","choices":[{"index":0,"delta":{"content":" peak"},"logprobs":null,"finish_reason":"length","stop_reason":null}]}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":9,"model":"a\"b","choices":[],"usage":{"completion_tokens":2,"prompt_tokens":3,"total_tokens":5}}

        data: [DONE]
        "#);
        let answer = render_answer(&head, &request);
        insta::assert_snapshot!(answer, @r#"{"choices":[{"finish_reason":"length","index":0,"logprobs":null,"message":{"content":" peak peak","role":"assistant"},"stop_reason":null}],"created":9,"id":"chatcmpl-1","model":"a\"b","object":"chat.completion","usage":{"completion_tokens":2,"prompt_tokens":3,"total_tokens":5}}"#);
    }

    #[test]
    fn what_is_cached_and_what_stops_is_said() {
        let mut request = ApiRequest {
            api: ApiEndpoint::Chat,
            prompt: 10,
            output: 5,
            cached: 6,
            stops_early: false,
            stream: true,
            include_usage: true,
        };
        request.stop_early();
        let head = AnswerHead {
            id: "chatcmpl-1",
            created: 9,
            model: "m",
        };
        let last = render_chunks(&head, &request).last;
        let last = String::from_utf8_lossy(&last).into_owned();
        assert!(last.contains(r#""finish_reason":"stop""#), "{last}");
        insta::assert_snapshot!(render_answer(&head, &request)["usage"], @r#"{"completion_tokens":2,"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":6},"total_tokens":12}"#);
    }

    #[test]
    fn bare_texts_are_completed() {
        let body = r#"{"model":"m","prompt":"a b c","max_tokens":2,"stream":true}"#;
        let request = read_request(ApiEndpoint::Completions, body.as_bytes(), &served()).unwrap();
        assert_eq!((request.prompt, request.output), (3, 2));
        let head = AnswerHead {
            id: "cmpl-1",
            created: 9,
            model: "m",
        };
        let chunks = render_chunks(&head, &request);
        let stream = [chunks.role, chunks.token, chunks.last].concat();
        insta::assert_snapshot!(String::from_utf8_lossy(&stream), @r#"
        data: {"id":"cmpl-1","object":"text_completion","created":9,"model":"m","choices":[{"index":0,"text":" peak","logprobs":null,"finish_reason":null}]}

        data: {"id":"cmpl-1","object":"text_completion","created":9,"model":"m","choices":[{"index":0,"text":" peak","logprobs":null,"finish_reason":"length","stop_reason":null}]}

        data: [DONE]
        "#);
        insta::assert_snapshot!(render_answer(&head, &request)["choices"], @r#"[{"finish_reason":"length","index":0,"logprobs":null,"stop_reason":null,"text":" peak peak"}]"#);
        let chat = read_request(
            ApiEndpoint::Completions,
            br#"{"messages":[{"content":"a"}]}"#,
            &served(),
        );
        insta::assert_snapshot!(chat.unwrap_err().body, @r#"{"error":{"code":400,"message":"1 validation error: missing field `prompt`","param":"prompt","type":"Bad Request"}}"#);
    }
}
