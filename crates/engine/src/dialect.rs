//! The body of a request, and the framing of its answer.

use std::borrow::Cow;

use gipfel_model::{ApiEndpoint, RequestForm};
use serde::Serialize;

use crate::{Engine, data::Dialect};

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events, each a chunk of OpenAI's form.
    Events,
    /// Lines, each a JSON object of Ollama's form.
    Lines,
    /// One JSON object.
    Whole,
}

#[derive(Serialize)]
struct OpenaiBody<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [Message<'a>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    max_tokens: u32,
    stream: bool,
    /// Servers refuse it in a request that is not streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tokens: Option<u32>,
}

#[derive(Serialize)]
struct OllamaBody<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [Message<'a>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    stream: bool,
    options: OllamaOptions,
}

#[derive(Serialize)]
struct OllamaOptions {
    num_predict: u32,
}

/// One message of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// Who speaks, such as `user`.
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

impl<'a> Message<'a> {
    /// What a user says.
    pub fn user(content: &'a str) -> Self {
        Self {
            role: "user",
            content,
        }
    }
}

/// A conversation as one text, for an API that knows no messages.
fn as_text<'a>(messages: &[Message<'a>]) -> Cow<'a, str> {
    if let [only] = messages {
        return Cow::Borrowed(only.content);
    }
    let lines = messages
        .iter()
        .map(|Message { role, content }| format!("{role}: {content}"));
    Cow::Owned(lines.collect::<Vec<_>>().join("\n\n"))
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl Engine {
    /// How the answer to a request of this form comes.
    pub fn framing(&self, form: RequestForm) -> Framing {
        match (form.stream, self.data.request.dialect) {
            (false, _) => Framing::Whole,
            (true, Dialect::Openai) => Framing::Events,
            (true, Dialect::Ollama) => Framing::Lines,
        }
    }

    /// Writes the JSON body of a request that asks for exactly `max_tokens` tokens, as far as the engine can be told
    /// so. What `out` held is replaced, its memory is used again.
    pub fn write_body(
        &self,
        form: RequestForm,
        model: &str,
        conversation: &[Message<'_>],
        max_tokens: u32,
        out: &mut Vec<u8>,
    ) {
        let request = &self.data.request;
        let text = as_text(conversation);
        let (messages, prompt) = match form.endpoint {
            ApiEndpoint::Chat => (Some(conversation), None),
            ApiEndpoint::Completions => (None, Some(text.as_ref())),
        };
        out.clear();
        let written = match request.dialect {
            Dialect::Openai => {
                let body = OpenaiBody {
                    model,
                    messages,
                    prompt,
                    max_tokens,
                    stream: form.stream,
                    stream_options: form.stream.then_some(StreamOptions { include_usage: true }),
                    ignore_eos: request.ignore_eos.then_some(true),
                    min_tokens: request.min_tokens.then_some(max_tokens),
                };
                serde_json::to_writer(out, &body)
            }
            Dialect::Ollama => {
                let body = OllamaBody {
                    model,
                    messages,
                    prompt,
                    stream: form.stream,
                    options: OllamaOptions {
                        num_predict: max_tokens,
                    },
                };
                serde_json::to_writer(out, &body)
            }
        };
        written.expect("texts and numbers are always valid JSON, and memory takes all");
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::BackendKind;
    use proptest::prelude::*;

    use super::*;
    use crate::engine;

    const CHAT: RequestForm = RequestForm {
        endpoint: ApiEndpoint::Chat,
        stream: true,
    };
    const COMPLETIONS: RequestForm = RequestForm {
        endpoint: ApiEndpoint::Completions,
        stream: true,
    };

    fn whole(form: RequestForm) -> RequestForm {
        RequestForm {
            stream: false,
            ..form
        }
    }

    fn body(kind: BackendKind, form: RequestForm, prompt: &str) -> String {
        let mut out = b"left over".to_vec();
        engine(kind).write_body(form, "swiss-ai/Apertus-8B", &[Message::user(prompt)], 7, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bodies() {
        use BackendKind::{Llamacpp, Ollama, Openai, Vllm};
        insta::assert_snapshot!(body(Vllm, CHAT, "say \"hi\"\n"), @r#"{"model":"swiss-ai/Apertus-8B","messages":[{"role":"user","content":"say \"hi\"\n"}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"min_tokens":7}"#);
        insta::assert_snapshot!(body(Llamacpp, CHAT, "hi"), @r#"{"model":"swiss-ai/Apertus-8B","messages":[{"role":"user","content":"hi"}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}"#);
        insta::assert_snapshot!(body(Openai, CHAT, "hi"), @r#"{"model":"swiss-ai/Apertus-8B","messages":[{"role":"user","content":"hi"}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true}}"#);
        insta::assert_snapshot!(body(Vllm, COMPLETIONS, "hi"), @r#"{"model":"swiss-ai/Apertus-8B","prompt":"hi","max_tokens":7,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"min_tokens":7}"#);
        insta::assert_snapshot!(body(Vllm, whole(COMPLETIONS), "hi"), @r#"{"model":"swiss-ai/Apertus-8B","prompt":"hi","max_tokens":7,"stream":false,"ignore_eos":true,"min_tokens":7}"#);
        insta::assert_snapshot!(body(Ollama, CHAT, "hi"), @r#"{"model":"swiss-ai/Apertus-8B","messages":[{"role":"user","content":"hi"}],"stream":true,"options":{"num_predict":7}}"#);
        insta::assert_snapshot!(body(Ollama, whole(COMPLETIONS), "hi"), @r#"{"model":"swiss-ai/Apertus-8B","prompt":"hi","stream":false,"options":{"num_predict":7}}"#);
    }

    #[test]
    fn conversations() {
        let system = Message {
            role: "system",
            content: "Be brief.",
        };
        let body = |form| {
            let mut out = Vec::new();
            let conversation = [system, Message::user("Why?")];
            engine(BackendKind::Openai).write_body(whole(form), "m", &conversation, 7, &mut out);
            String::from_utf8(out).unwrap()
        };
        insta::assert_snapshot!(body(CHAT), @r#"{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Why?"}],"max_tokens":7,"stream":false}"#);
        insta::assert_snapshot!(body(COMPLETIONS), @r#"{"model":"m","prompt":"system: Be brief.\n\nuser: Why?","max_tokens":7,"stream":false}"#);
    }

    #[test]
    fn paths_and_framings() {
        let check = |kind, form: RequestForm, path: &str, framing| {
            let engine = engine(kind);
            assert_eq!(
                (engine.api_path(form.endpoint), engine.framing(form)),
                (path, framing)
            );
        };
        check(BackendKind::Vllm, CHAT, "/v1/chat/completions", Framing::Events);
        check(
            BackendKind::Sglang,
            COMPLETIONS,
            "/v1/completions",
            Framing::Events,
        );
        check(
            BackendKind::Dynamo,
            whole(CHAT),
            "/v1/chat/completions",
            Framing::Whole,
        );
        check(BackendKind::Ollama, CHAT, "/api/chat", Framing::Lines);
        check(BackendKind::Ollama, COMPLETIONS, "/api/generate", Framing::Lines);
        check(BackendKind::Ollama, whole(CHAT), "/api/chat", Framing::Whole);
    }

    proptest! {
        #[test]
        fn every_prompt_comes_back(prompt in ".*") {
            let chat: serde_json::Value = serde_json::from_str(&body(BackendKind::Sim, CHAT, &prompt)).unwrap();
            prop_assert_eq!(chat["messages"][0]["content"].as_str(), Some(prompt.as_str()));
            let bare: serde_json::Value =
                serde_json::from_str(&body(BackendKind::Ollama, COMPLETIONS, &prompt)).unwrap();
            prop_assert_eq!(bare["prompt"].as_str(), Some(prompt.as_str()));
        }
    }
}
