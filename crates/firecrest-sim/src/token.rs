//! Secrets, and the signed tokens of the token endpoint.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize, de::Error as _};
use sha2::Sha256;

/// A text that neither `Debug` nor any log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        // The error of another type would show the value.
        let text = String::deserialize(input).map_err(|_| D::Error::custom("a secret must be a text"))?;
        Ok(Self(text))
    }
}

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a token says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Claims {
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) jti: String,
    pub(crate) azp: String,
    pub(crate) scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preferred_username: Option<String>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TokenRefusal {
    Invalid,
    Expired,
    ExpiresTooSoon,
    NoUsername,
}

/// Signs and reads tokens.
pub(crate) struct TokenSigner {
    key: [u8; 32],
}

impl TokenSigner {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Secret {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::json!(claims).to_string());
        let signed = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(hmac_sha256(&self.key, signed.as_bytes()));
        Secret::new(format!("{signed}.{signature}"))
    }

    /// The user whom `token` speaks for at `now_s`.
    pub(crate) fn read(&self, token: &str, now_s: i64, refused_below_s: i64) -> Result<String, TokenRefusal> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Invalid)?;
        let expected = URL_SAFE_NO_PAD.encode(hmac_sha256(&self.key, signed.as_bytes()));
        if signature != expected {
            return Err(TokenRefusal::Invalid);
        }
        let payload = signed.split_once('.').ok_or(TokenRefusal::Invalid)?.1;
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| TokenRefusal::Invalid)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| TokenRefusal::Invalid)?;
        if claims.exp <= now_s {
            return Err(TokenRefusal::Expired);
        }
        if claims.exp - now_s < refused_below_s {
            return Err(TokenRefusal::ExpiresTooSoon);
        }
        claims.preferred_username.ok_or(TokenRefusal::NoUsername)
    }
}

pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length, so that the error cannot happen; an empty result would match no signature.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(exp: i64, user: Option<&str>) -> Claims {
        Claims {
            exp,
            iat: 0,
            jti: "1".to_owned(),
            azp: "client".to_owned(),
            scope: String::new(),
            preferred_username: user.map(str::to_owned),
        }
    }

    #[track_caller]
    fn check(claims: &Claims, now_s: i64, expected: Result<&str, TokenRefusal>) {
        let signer = TokenSigner::new([7; 32]);
        let token = signer.sign(claims);
        assert_eq!(
            signer.read(token.expose(), now_s, 30),
            expected.map(str::to_owned)
        );
    }

    #[test]
    fn a_token_is_refused_in_its_last_thirty_seconds() {
        check(&claims(1000, Some("tester")), 970, Ok("tester"));
        check(
            &claims(1000, Some("tester")),
            971,
            Err(TokenRefusal::ExpiresTooSoon),
        );
        check(&claims(1000, Some("tester")), 1000, Err(TokenRefusal::Expired));
        check(&claims(1000, None), 0, Err(TokenRefusal::NoUsername));
    }

    #[test]
    fn a_token_of_another_key_is_invalid() {
        let token = TokenSigner::new([8; 32]).sign(&claims(1000, Some("tester")));
        let signer = TokenSigner::new([7; 32]);
        assert_eq!(signer.read(token.expose(), 0, 30), Err(TokenRefusal::Invalid));
        assert_eq!(signer.read("garbage", 0, 30), Err(TokenRefusal::Invalid));
    }

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(…)");
    }
}
