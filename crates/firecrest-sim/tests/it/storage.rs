//! Presigned storage, keys and paths in front of the API.

use std::{fs, time::Duration};

use firecrest_sim::{Failure, Rule, Service, Target};
use serde_json::{Value, json};

use crate::{
    replay::content,
    site::{Site, WORK},
    wire::Outgoing,
};

fn upload(size: usize) -> Value {
    json!({
        "path": format!("{WORK}/up.bin"),
        "account": "a-lab01",
        "transferDirectives": {"transferMethod": "s3", "fileSize": size},
    })
}

fn urls(begun: &Value) -> Vec<String> {
    let urls = begun["transferDirectives"]["partsUploadUrls"]
        .as_array()
        .expect("addresses")
        .iter();
    urls.map(|url| url.as_str().expect("an address").to_owned())
        .collect()
}

async fn begin(site: &Site, size: usize) -> Value {
    let reply = site
        .call(
            "POST",
            "/filesystem/clariden/transfer/upload",
            Some(&upload(size)),
        )
        .await;
    assert_eq!(reply.status, 201, "{}", reply.json());
    reply.json()
}

async fn put(url: &str, bytes: &[u8]) -> Option<String> {
    let reply = Outgoing::new("PUT", url).body(bytes.to_vec()).send().await.ok()?;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.header("etag").map(str::to_owned)
}

fn document(tags: &[String]) -> String {
    let parts = tags.iter().enumerate().map(|(index, tag)| {
        format!(
            "<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>",
            index + 1
        )
    });
    let parts: Vec<String> = parts.collect();
    format!(
        "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
        parts.concat()
    )
}

async fn code(outgoing: Outgoing) -> (u16, String) {
    let reply = outgoing.send().await.expect("an answer");
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once('<'))
        .map(|(code, _)| code);
    (reply.status.as_u16(), code.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn parts_come_again_and_in_any_order() {
    let site = Site::start_with(|options| options.limits.part_bytes = 100_000).await;
    let bytes = content(250_000);
    let begun = begin(&site, bytes.len()).await;
    let urls = urls(&begun);
    let parts: Vec<&[u8]> = bytes.chunks(100_000).collect();
    assert_eq!(urls.len(), parts.len());
    // The first try of the last part is cut after its effect, as a connection may be.
    let target = Target {
        service: Service::Storage,
        method: Some("PUT".to_owned()),
        path: None,
    };
    site.running.fail(Rule {
        failure: Failure::CutAfter,
        target,
        skip: 0,
        count: Some(1),
    });
    assert_eq!(put(&urls[2], parts[2]).await, None);
    let mut tags = vec![String::new(); 3];
    for index in [2, 0, 1] {
        tags[index] = put(&urls[index], parts[index]).await.expect("a tag");
    }
    let complete = begun["transferDirectives"]["completeUploadUrl"]
        .as_str()
        .expect("an address");
    let mut wrong = tags.clone();
    wrong.swap(0, 1);
    let expected = (400, "InvalidPart".to_owned());
    assert_eq!(
        code(Outgoing::new("POST", complete).body(document(&wrong))).await,
        expected
    );
    // A second completion, after a lost answer, is as good as the first.
    for _ in 0..2 {
        assert_eq!(
            code(Outgoing::new("POST", complete).body(document(&tags)))
                .await
                .0,
            200
        );
    }
    let job = begun["transferJob"]["jobId"].as_str().expect("a job");
    site.until_state(job, "COMPLETED").await;
    let written = fs::read(site.real(&format!("{WORK}/up.bin"))).expect("the file");
    assert!(written == bytes, "the file is what was uploaded");
    assert_eq!(
        site.running
            .transfers()
            .iter()
            .map(|one| one.kind.as_str())
            .collect::<Vec<_>>(),
        ["upload"]
    );
    site.running.stop().await;
}

#[tokio::test]
async fn only_presigned_addresses_are_good() {
    let site = Site::start_with(|options| options.limits.part_bytes = 100).await;
    let begun = begin(&site, 10).await;
    let url = &urls(&begun)[0];
    let refused = |status, code: &str| (status, code.to_owned());
    let with_token = Outgoing::new("PUT", url).header("authorization", site.bearer("tester"));
    assert_eq!(code(with_token).await, refused(400, "InvalidArgument"));
    let other = url.replace("partNumber=1", "partNumber=2");
    assert_eq!(
        code(Outgoing::new("PUT", other)).await,
        refused(403, "SignatureDoesNotMatch")
    );
    assert_eq!(
        code(Outgoing::new("GET", url)).await,
        refused(403, "SignatureDoesNotMatch")
    );
    let bare = url.split('?').next().expect("a path");
    assert_eq!(
        code(Outgoing::new("GET", bare)).await,
        refused(403, "AccessDenied")
    );
    let chunked = Outgoing::new("PUT", url)
        .header("transfer-encoding", "chunked")
        .body("some bytes");
    assert_eq!(code(chunked).await, refused(411, "MissingContentLength"));
    let large = Outgoing::new("PUT", url).body(vec![0; 101]);
    assert_eq!(code(large).await, refused(400, "EntityTooLarge"));
    let damaged = Outgoing::new("PUT", url)
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .body("0123456789");
    assert_eq!(code(damaged).await, refused(400, "BadDigest"));
    site.running.stop().await;
}

#[tokio::test]
async fn a_download_is_cut_and_goes_on_by_range() {
    let site = Site::start().await;
    let bytes = content(3_000_000);
    site.write(&format!("{WORK}/down.bin"), &bytes);
    let body = json!({
        "path": format!("{WORK}/down.bin"), "account": "a-lab01", "transferDirectives": {"transferMethod": "s3"},
    });
    let begun = site
        .call("POST", "/filesystem/clariden/transfer/download", Some(&body))
        .await
        .json();
    site.until_state(
        begun["transferJob"]["jobId"].as_str().expect("a job"),
        "COMPLETED",
    )
    .await;
    let url = begun["transferDirectives"]["downloadUrl"]
        .as_str()
        .expect("an address");
    let target = Target {
        service: Service::Storage,
        ..Target::default()
    };
    site.running.fail(Rule {
        failure: Failure::CutBody,
        target,
        skip: 0,
        count: Some(1),
    });
    assert!(
        Outgoing::new("GET", url).send().await.is_err(),
        "the first try is cut"
    );
    let rest = Outgoing::new("GET", url)
        .header("range", "bytes=1000000-")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        rest.header("content-range"),
        Some("bytes 1000000-2999999/3000000")
    );
    assert!(rest.body == bytes[1_000_000..], "the rest is the rest");
    site.running.stop().await;
}

#[tokio::test]
async fn a_transfer_stays_in_its_owners_folders() {
    let site = Site::start().await;
    let foreign = "/capstor/scratch/cscs/other/f";
    site.write(foreign, "theirs");
    let path = format!("/filesystem/clariden/transfer/rm?path={foreign}&account=a-lab01");
    let removal = site.call("DELETE", &path, None).await.json();
    let target = format!("{WORK}/mine");
    let body = json!({"path": foreign, "targetPath": target, "account": "a-lab01"});
    let moved = site
        .call("POST", "/filesystem/clariden/transfer/mv", Some(&body))
        .await
        .json();
    for begun in [&removal, &moved] {
        let job = &begun["transferJob"];
        site.until_state(job["jobId"].as_str().expect("a job"), "COMPLETED")
            .await;
        let log = site.real(job["logs"]["errorLog"].as_str().expect("a log"));
        let log = fs::read_to_string(log).expect("the log");
        assert!(
            log.contains(&format!("cannot access '{foreign}': Permission denied")),
            "{log}"
        );
    }
    let mut upload = upload(10);
    upload["path"] = json!(foreign);
    let begun = site
        .call("POST", "/filesystem/clariden/transfer/upload", Some(&upload))
        .await
        .json();
    let tag = put(&urls(&begun)[0], b"0123456789").await.expect("a tag");
    let complete = begun["transferDirectives"]["completeUploadUrl"]
        .as_str()
        .expect("an address");
    assert_eq!(
        code(Outgoing::new("POST", complete).body(document(&[tag])))
            .await
            .0,
        200
    );
    site.until_state(begun["transferJob"]["jobId"].as_str().expect("a job"), "FAILED")
        .await;
    assert_eq!(
        fs::read_to_string(site.real(foreign)).expect("the file"),
        "theirs"
    );
    site.running.stop().await;
}

#[tokio::test]
async fn nothing_that_is_shown_holds_a_secret() {
    let site = Site::start().await;
    let begun = begin(&site, 10).await;
    put(&urls(&begun)[0], b"0123456789").await.expect("a tag");
    let form = "grant_type=client_credentials&client_id=f7t-tester&client_secret=secret-of-tester";
    let token = Outgoing::new("POST", &site.running.token_url)
        .body(form)
        .send()
        .await
        .expect("an answer");
    let token = token.json()["access_token"].as_str().expect("a token").to_owned();
    let call = Outgoing::new("GET", site.url("/status/systems")).header("x-api-key", "key-of-tester");
    assert_eq!(call.send().await.expect("an answer").status, 200);
    let mut shown = format!("{:?} {:?}", site.running, crate::site::options(&site.folder));
    for path in ["calls", "submits", "transfers", "jobs"] {
        let reply = Outgoing::new("GET", site.url(&format!("/_sim/{path}")))
            .send()
            .await
            .expect("an answer");
        shown.push_str(&reply.json().to_string());
    }
    assert!(shown.contains("IngressFileTransfer"), "{shown}");
    for secret in [token.as_str(), "secret-of", "key-of", "X-Amz-Signature"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    site.running.stop().await;
}

#[tokio::test]
async fn keys_and_a_path_in_front_are_served() {
    let site = Site::start_with(|options| {
        options.base_path = "/ml/firecrest/v2".to_owned();
        options.version = "2.6.0".to_owned();
        options.limits.command_timeout = Duration::from_secs(5);
    })
    .await;
    assert!(site.running.base_url.ends_with("/ml/firecrest/v2"));
    let ask =
        |key: &str| Outgoing::new("GET", site.url("/status/clariden/userinfo")).header("x-api-key", key);
    let reply = ask("key-of-other").send().await.expect("an answer");
    assert_eq!(reply.header("f7t-appversion"), Some("2.6.0"));
    let info = reply.json();
    assert_eq!(
        (&info["user"]["name"], info.get("group")),
        (&json!("other"), None)
    );
    assert_eq!(
        info["groups"][0],
        json!({"id": "25100", "name": "lab01", "default": true})
    );
    assert_eq!(ask("key-of-nobody").send().await.expect("an answer").status, 401);
    let outside = site
        .running
        .base_url
        .replace("/ml/firecrest/v2", "/status/systems");
    assert_eq!(
        Outgoing::new("GET", outside)
            .send()
            .await
            .expect("an answer")
            .status,
        404
    );
    site.running.stop().await;
}
