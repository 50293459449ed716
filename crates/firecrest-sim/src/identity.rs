//! Who calls: the token endpoint, tokens and keys.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::json;

use crate::{
    answer::{Answer, Problem},
    call::{Call, pairs},
    clock::now_s,
    options::UserOptions,
    state::State,
    storage::unique,
    token::{Claims, Secret, TokenRefusal},
};

/// The path of the token endpoint.
pub(crate) const TOKEN_PATH: &str = "/auth/realms/firecrest-sim/protocol/openid-connect/token";

/// Whether a path is one of a token endpoint, of whatever realm.
pub(crate) fn is_token_path(path: &str) -> bool {
    path.starts_with("/auth/realms/") && path.ends_with("/protocol/openid-connect/token")
}

fn refused(status: StatusCode, error: &str, description: &str) -> Answer {
    Answer::json(status, &json!({"error": error, "error_description": description}))
}

/// Answers the token endpoint.
pub(crate) fn token(state: &State, call: &Call) -> Answer {
    let form = pairs(&String::from_utf8_lossy(&call.body));
    let field = |wanted: &str| {
        form.iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
    };
    if field("grant_type").as_deref() != Some("client_credentials") {
        let text = "Unsupported grant_type";
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", text);
    }
    let in_form = field("client_id").zip(field("client_secret"));
    let Some((id, secret)) = basic_credentials(call).or(in_form) else {
        let text = "Invalid client or Invalid client credentials";
        return refused(StatusCode::UNAUTHORIZED, "invalid_client", text);
    };
    let user = state.users.values().find(|user| user.client_id == id);
    let Some(user) = user.filter(|user| user.client_secret.expose() == secret) else {
        let text = "Invalid client or Invalid client credentials";
        return refused(StatusCode::UNAUTHORIZED, "invalid_client", text);
    };
    let life_s = i64::try_from(state.options.token.life.as_secs()).unwrap_or(i64::MAX / 2);
    let token = sign(state, Some(&user.name), life_s);
    Answer::json(
        StatusCode::OK,
        &json!({
            "access_token": token.expose(),
            "expires_in": life_s,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "firecrest profile",
        }),
    )
}

/// A token for a user, or for nobody, that lives for this long.
pub(crate) fn sign(state: &State, user: Option<&str>, life_s: i64) -> Secret {
    let now_s = now_s();
    let client = user
        .and_then(|user| state.users.get(user))
        .map(|user| user.client_id.clone());
    state.signer.sign(&Claims {
        exp: now_s + life_s,
        iat: now_s,
        jti: unique(),
        azp: client.unwrap_or_default(),
        scope: "firecrest profile".to_owned(),
        preferred_username: user.map(str::to_owned),
    })
}

fn basic_credentials(call: &Call) -> Option<(String, String)> {
    let encoded = call.header("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |text| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    Some((decode(id), decode(secret)))
}

/// A refusal that sends the token back, as the real server does.
pub(crate) fn unauthorised(call: &Call, message: &str) -> Problem {
    let mut problem = Problem::new(StatusCode::UNAUTHORIZED, message).anonymous();
    if let Some(token) = bearer(call) {
        problem.headers.push(("auth-token", token.to_owned()));
    }
    problem
}

fn bearer(call: &Call) -> Option<&str> {
    let value = call.header("authorization")?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Finds out who calls.
pub(crate) fn authenticate(state: &State, call: &Call) -> Result<Arc<UserOptions>, Problem> {
    if let Some(key) = call.header("x-api-key") {
        let holds = |user: &&Arc<UserOptions>| user.api_key.as_ref().is_some_and(|own| own.expose() == key);
        return state
            .users
            .values()
            .find(holds)
            .cloned()
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "Not authenticated").anonymous());
    }
    let Some(token) = bearer(call) else {
        let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "Not authenticated").anonymous();
        problem.headers.push(("www-authenticate", "Bearer".to_owned()));
        return Err(problem);
    };
    let refused_below_s = i64::try_from(state.options.token.refused_below.as_secs()).unwrap_or(i64::MAX);
    let name = state
        .signer
        .read(token, now_s(), refused_below_s)
        .map_err(|refusal| match refusal {
            TokenRefusal::Invalid => unauthorised(call, "Access token is invalid."),
            TokenRefusal::Expired => unauthorised(call, "Access token expired"),
            TokenRefusal::ExpiresTooSoon => {
                let text = format!("Access token expires too soon (less than {refused_below_s}s remaining).");
                unauthorised(call, &text)
            }
            TokenRefusal::NoUsername => {
                let text = "Authentication token 'preferred_username' claim is missing";
                Problem::bad_request(text).anonymous()
            }
        })?;
    let unknown = || Problem::server_error(format!("('No SSH credentials found for user:{name}',)"));
    state.users.get(&name).cloned().ok_or_else(unknown)
}
