//! Masks what looks like a credential in text that others wrote: gateways echo tokens and URLs.

use crate::secret::MASK;

/// Query parameters whose values open something.
const PARAMETERS: &[&str] = &[
    "x-amz-signature=",
    "x-amz-credential=",
    "x-amz-security-token=",
    "uploadid=",
    "awsaccesskeyid=",
    "signature=",
    "client_secret=",
    "access_token=",
    "api_key=",
    "apikey=",
];

/// Words after which a credential follows, if the next word is as long as one.
const SCHEMES: &[&str] = &["bearer ", "x-api-key: ", "auth-token: "];

/// Shorter words are prose, as in "Bearer token expired".
const SHORTEST_CREDENTIAL: usize = 12;

/// The text with everything that looks like a credential masked, and each of `known` in particular.
pub(crate) fn redact(text: &str, known: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in known.iter().filter(|secret| secret.len() >= 4) {
        text = text.replace(secret, MASK);
    }
    let text = mask_after(&text, PARAMETERS, 1);
    mask_tokens(&mask_after(&text, SCHEMES, SHORTEST_CREDENTIAL))
}

/// Masks the word that follows each of the markers, whatever their case, if it is long enough.
fn mask_after(text: &str, markers: &[&str], shortest: usize) -> String {
    let lower = text.to_ascii_lowercase();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while let Some((start, marker)) = markers
        .iter()
        .filter_map(|marker| lower[at..].find(marker).map(|offset| (at + offset, marker)))
        .min()
    {
        let value = start + marker.len();
        let end = text[value..]
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '<' | '>' | ',' | ';' | ')'))
            .map_or(text.len(), |offset| value + offset);
        masked.push_str(&text[at..value]);
        let word = &text[value..end];
        masked.push_str(if word.len() < shortest { word } else { MASK });
        // The mask itself begins with a delimiter, so text that is masked already is kept as it is.
        at = end;
    }
    masked.push_str(&text[at..]);
    masked
}

/// Masks words of the shape of a JSON web token.
fn mask_tokens(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("eyJ") {
        let word = rest[start..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
            .map_or(rest.len(), |offset| start + offset);
        masked.push_str(&rest[..start]);
        masked.push_str(MASK);
        rest = &rest[word..];
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_are_masked() {
        let check = |text: &str, expected: &str| assert_eq!(redact(text, &["swordfish"]), expected);
        check("nothing here", "nothing here");
        check("the key swordfish was refused", "the key <secret> was refused");
        check(
            "Authorization: Bearer abcdef.ghijkl, next",
            "Authorization: Bearer <secret>, next",
        );
        check(
            "http://s/k?partNumber=1&X-Amz-Signature=abc&X-Amz-Date=1",
            "http://s/k?partNumber=1&X-Amz-Signature=<secret>&X-Amz-Date=1",
        );
        check("token eyJhbGciOi.eyJzdWI.sig_na-ture.", "token <secret>");
        check("Bearer ", "Bearer ");
        check("Bearer token expired", "Bearer token expired");
    }

    proptest! {
        #[test]
        fn no_signature_survives(
            before in "\\PC{0,40}",
            secret in "[A-Za-z0-9%/+]{8,40}",
            after in "[ &\"]\\PC{0,40}",
        ) {
            let text = format!("{before}X-Amz-Signature={secret}{after}");
            let marked = format!("X-Amz-Signature={secret}");
            prop_assert!(!redact(&text, &[]).contains(&marked));
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,200}") {
            let _ = redact(&text, &["é"]);
        }
    }
}
