//! The body of a request.

use serde::Serialize;

use crate::Engine;

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
    max_tokens: u32,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl Engine {
    /// Writes the JSON body of a streamed chat completion that asks for exactly `max_tokens` tokens, as far as the
    /// engine can be told so. What `out` held is replaced, its memory is used again.
    pub fn chat_body(&self, model: &str, prompt: &str, max_tokens: u32, out: &mut Vec<u8>) {
        let request = &self.data.request;
        let body = ChatBody {
            model,
            messages: [Message {
                role: "user",
                content: prompt,
            }],
            max_tokens,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            ignore_eos: request.ignore_eos.then_some(true),
            min_tokens: request.min_tokens.then_some(max_tokens),
        };
        out.clear();
        serde_json::to_writer(out, &body)
            .expect("texts and numbers are always valid JSON, and memory takes all");
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::BackendKind;
    use proptest::prelude::*;

    use crate::engine;

    fn body(kind: BackendKind, prompt: &str) -> String {
        let mut out = b"left over".to_vec();
        engine(kind).chat_body("swiss-ai/Apertus-8B", prompt, 7, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bodies() {
        insta::assert_snapshot!(body(BackendKind::Vllm, "say \"hi\"\n"), @r#"{"model":"swiss-ai/Apertus-8B","messages":[{"role":"user","content":"say \"hi\"\n"}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"min_tokens":7}"#);
        insta::assert_snapshot!(body(BackendKind::Llamacpp, "hi"), @r#"{"model":"swiss-ai/Apertus-8B","messages":[{"role":"user","content":"hi"}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}"#);
        insta::assert_snapshot!(body(BackendKind::Openai, "hi"), @r#"{"model":"swiss-ai/Apertus-8B","messages":[{"role":"user","content":"hi"}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true}}"#);
    }

    proptest! {
        #[test]
        fn every_prompt_comes_back(prompt in ".*") {
            let value: serde_json::Value = serde_json::from_str(&body(BackendKind::Sim, &prompt)).unwrap();
            prop_assert_eq!(value["messages"][0]["content"].as_str(), Some(prompt.as_str()));
        }
    }
}
