//! How stored requests stand to objectives; the verdicts over them are the load generator's own rules, of `peak_search`.

use gipfel_model::{
    Attainment, Evidence, LevelRecord, LevelState, RequestRecord, Slo, Stage, Verdict, record::Decision,
};

/// By which objectives a level is looked at.
pub(crate) struct Objectives<'a> {
    /// Those that judge it anew; absent: the stored verdict stands.
    pub(crate) judged_by: Option<&'a [Slo]>,
    /// The run's own.
    pub(crate) own: &'a [Slo],
    /// Those that decide nothing.
    pub(crate) informational: &'a [Slo],
    /// Whether the requests stand at the times of their arrivals; those of an import all stand at one.
    pub(crate) timed: bool,
}

impl Objectives<'_> {
    fn deciding(&self) -> &[Slo] {
        self.judged_by.unwrap_or(self.own)
    }
}

/// What is said of a level.
pub(crate) struct Judged {
    pub(crate) attainment: Vec<Attainment>,
    /// By the intervals.
    pub(crate) verdict: Option<Verdict>,
    /// By the counts alone.
    pub(crate) simple_verdict: Option<Verdict>,
    /// What the peak is estimated from; absent where the requests have no times.
    pub(crate) evidence: Option<Evidence>,
}

/// Judges a level. What its load generator said stands, unless there are other objectives, or it is of a version that knew
/// nothing of bursts.
pub(crate) fn judge(
    record: &LevelRecord,
    requests: &[RequestRecord],
    measured: &[RequestRecord],
    objectives: &Objectives<'_>,
) -> Judged {
    let slos = objectives.deciding();
    let is_complete = record.state == LevelState::Complete;
    let is_known = objectives.judged_by.is_none() && record.evidence.is_some();
    let evidence = match &record.evidence {
        Some(evidence) if is_known => Some(evidence.clone()),
        _ if is_complete && objectives.timed => Some(gipfel_peak_search::evidence_of(record, requests, slos)),
        _ => None,
    };
    let scheduled = scheduled(record, measured);
    let attainment = if is_known && !record.attainment.is_empty() {
        record.attainment.clone()
    } else {
        let of = |(index, slo): (usize, &Slo)| match &evidence {
            Some(evidence) => gipfel_peak_search::attainment(slo, index, evidence, scheduled),
            None => attainment(slo, measured, scheduled),
        };
        slos.iter().enumerate().map(of).collect()
    };
    let is_step = record.stage != Stage::Level;
    let verdict = match &record.verdict {
        stored if is_known || slos.is_empty() => stored.clone(),
        _ if is_step => record.validity.reason().map(|reason| Verdict::Invalid { reason }),
        _ => Some(gipfel_peak_search::judge(&attainment, &record.validity)),
    };
    let simple_verdict = match &verdict {
        stored if slos.is_empty() => stored.clone(),
        _ => Some(gipfel_peak_search::judge_simply(&attainment, &record.validity)),
    };
    Judged {
        attainment,
        verdict: verdict.filter(|_| is_complete),
        simple_verdict: simple_verdict.filter(|_| is_complete && !is_step),
        evidence,
    }
}

/// Requests scheduled in the measured window, those included of which nothing is recorded.
pub(crate) fn scheduled(record: &LevelRecord, measured: &[RequestRecord]) -> u64 {
    let stored = record.attainment.iter().map(|one| one.scheduled).max();
    stored.unwrap_or(0).max(measured.len() as u64)
}

/// How the measured requests stand to an objective, by their counts; `scheduled` counts those too of which nothing is
/// recorded.
pub(crate) fn attainment(slo: &Slo, requests: &[RequestRecord], scheduled: u64) -> Attainment {
    let mut decided = 0;
    let mut violated = 0;
    for request in requests {
        match request.decide(slo) {
            Decision::Met => decided += 1,
            Decision::Violated => {
                decided += 1;
                violated += 1;
            }
            Decision::Undecided => {}
        }
    }
    Attainment {
        slo: *slo,
        scheduled,
        decided,
        violated,
        n_eff: None,
        interval: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::Outcome;

    use crate::fixture::{self, MS, request};

    const TTFT: &str = "ttft p95 <= 500ms";

    #[test]
    fn requests_are_counted_by_their_decision() {
        let slo: Slo = TTFT.parse().expect("an objective");
        let waiting = RequestRecord {
            outcome: Outcome::Shed,
            first_token_ns: None,
            end_ns: 100 * MS,
            ..request(0, 3)
        };
        let requests = [
            request(0, 1),
            RequestRecord {
                outcome: Outcome::HttpError,
                ..request(0, 2)
            },
            waiting,
        ];
        let found = attainment(&slo, &requests, 7);
        assert_eq!((found.scheduled, found.decided, found.violated), (7, 2, 1));
    }

    #[test]
    fn a_window_that_begins_within_a_second_is_counted_whole() {
        let slos = [fixture::slo(TTFT)];
        let requests: Vec<RequestRecord> = (0..30)
            .map(|number| RequestRecord {
                scheduled_ns: 3_214 * MS + i64::from(number) * 10 * MS,
                outcome: Outcome::HttpError,
                ..request(0, number)
            })
            .collect();
        let mut record = fixture::level(0, 100.0, &slos, &requests);
        (record.warmup_ns, record.measured_ns) = (3_214 * MS, 300 * MS);
        let objectives = Objectives {
            judged_by: None,
            own: &slos,
            informational: &[],
            timed: true,
        };
        let judged = judge(&record, &requests, &requests, &objectives);
        assert_eq!(
            (judged.attainment[0].decided, judged.attainment[0].violated),
            (30, 30)
        );
        assert_eq!(judged.verdict, Some(Verdict::Reject { slo: slos[0] }));
    }
}
