//! Who asks what.

use std::{path::Path, rc::Rc};

use anyhow::Context;
use gipfel_model::RunConfig;
use gipfel_results_db::ResultsDb;
use serde_json::json;
use tokio::fs::File;

use super::{
    http::{Request, Response, TEXT},
    order,
    state::{Job, Service, StartError},
    totals,
};

/// A copy of the database without a write-ahead log, which is what is sent.
const COPY: &str = "download.db";

/// The paths and the method that each is asked by.
const PATHS: &[(&str, &str)] = &[
    ("/health", "GET"),
    ("/start", "POST"),
    ("/start-load", "POST"),
    ("/status", "GET"),
    ("/load-status", "GET"),
    ("/result", "GET"),
    ("/load-result", "GET"),
    ("/database", "GET"),
    ("/stop", "POST"),
    ("/metrics", "GET"),
    ("/metrics/prometheus", "GET"),
];

/// Answers a request.
pub(super) async fn answer(service: Rc<Service>, request: Request) -> Response {
    let path = match request.path.as_str() {
        "/" => "/",
        path => path.trim_end_matches('/'),
    };
    let Some((_, method)) = PATHS.iter().find(|(known, _)| *known == path) else {
        let known: Vec<&str> = PATHS.iter().map(|(path, _)| *path).collect();
        return Response::error(404, &format!("there is no {path}; there is {}", known.join(", ")));
    };
    let asked = if request.method == "HEAD" {
        "GET"
    } else {
        &request.method
    };
    if asked != *method {
        return Response::error(405, &format!("{path} is asked by {method}"));
    }
    match path {
        "/health" => Response::json(200, &json!({ "status": "ok" })),
        "/start" => ordered(&service, order::start(&request.body)),
        "/start-load" => ordered(&service, order::load(&request.body)),
        "/status" | "/load-status" => status(&service),
        "/result" => result(&service, &request.query, 404),
        "/load-result" => result(&service, &request.query, 400),
        "/database" => database(&service).await,
        "/stop" => stop(&service),
        _ => {
            let job = service.job.borrow().clone();
            let progress = job.and_then(|job| job.progress());
            let page = service.totals.borrow().page(service.is_busy(), progress.as_ref());
            Response::new(200, totals::CONTENT_TYPE, page)
        }
    }
}

/// Begins what was ordered, or says every reason why not.
fn ordered(service: &Rc<Service>, order: Result<RunConfig, Vec<String>>) -> Response {
    let config = match order {
        Ok(config) => config,
        Err(reasons) => {
            return Response::json(400, &json!({ "error": reasons.join("; "), "reasons": reasons }));
        }
    };
    let run = config.run_id.clone();
    match service.start(config) {
        // The clients of the HPC toolkit look for `success`.
        Ok(()) => Response::json(
            202,
            &json!({ "status": "Load generation started", "success": true, "run_id": run }),
        ),
        Err(error @ (StartError::Busy | StartError::Exists(_))) => Response::error(409, &error.to_string()),
        Err(error) => Response::error(500, &error.to_string()),
    }
}

fn stop(service: &Service) -> Response {
    match service.stop() {
        Ok(true) => Response::json(202, &json!({ "status": "Load generation is stopping" })),
        Ok(false) => Response::error(409, "no load generation is running"),
        Err(error) => Response::error(500, &format!("failed to stop the run: {error}")),
    }
}

fn status(service: &Service) -> Response {
    let (job, outcome) = (service.job.borrow().clone(), service.outcome.borrow().clone());
    let sentence = match &job {
        _ if service.is_busy() => "Load generation is running",
        None => "Ready to run benchmark",
        Some(_) => "Load generation finished",
    };
    Response::json(
        200,
        &json!({
            "status": sentence,
            "run_id": job.as_ref().map(|job| &job.config.run_id),
            "state": outcome.as_ref().map(|outcome| outcome.state),
            "error": outcome.as_ref().and_then(|outcome| outcome.error.clone()),
            "progress": job.as_ref().and_then(|job| job.progress()),
        }),
    )
}

/// The figures of the last complete level, or of the one that the query names.
fn result(service: &Service, query: &str, not_yet: u16) -> Response {
    let Some(outcome) = service.outcome.borrow().clone() else {
        return Response::error(not_yet, "Benchmark result is not available yet");
    };
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .next_back()
    };
    let figures = match parameter("level") {
        None => outcome.figures.last(),
        Some(level) => outcome
            .figures
            .iter()
            .find(|figures| figures.number().to_string() == level),
    };
    let Some(figures) = figures else {
        let error = outcome
            .error
            .as_deref()
            .unwrap_or("the run has no such complete level");
        return Response::error(not_yet, error);
    };
    match parameter("format") {
        Some("text") => Response::new(200, TEXT, figures.text()),
        None | Some("json") => Response::json(200, &figures.json()),
        Some(other) => Response::error(400, &format!("`format` is json or text, not {other}")),
    }
}

async fn database(service: &Service) -> Response {
    let job = service.job.borrow().clone();
    match job {
        Some(job) if service.outcome.borrow().is_some() => match copy(&job).await {
            Ok(response) => response,
            Err(error) => Response::error(500, &format!("{error:#}")),
        },
        _ => Response::error(404, "there is no database until a run is over"),
    }
}

async fn copy(job: &Job) -> anyhow::Result<Response> {
    let copy = job.directory.join(COPY);
    if !Path::exists(&copy) {
        let db = ResultsDb::open_read_only(job.database()).await?;
        db.export_copy(&copy).await?;
        db.close().await?;
    }
    let file = File::open(&copy)
        .await
        .context("failed to open the copy of the database")?;
    Ok(Response::file(file).await?)
}
