//! What stands between the server and a system: the login, its limits, and how their troubles look from each call.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::answer::Problem;

const COMMAND_TIMEOUT: &str = "Command execution timeout limit exceeded.";
const LOGIN_TIMEOUT: &str = "SSH connection timeout limit exceeded.";
const SLURM: &str = "Error executing Slurm command.";
const REFUSED: &str = "[Errno 111] Connection refused";

/// How the login node answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshState {
    /// As it should.
    #[default]
    Up,
    /// Nobody listens.
    Refused,
    /// Somebody listens and says nothing.
    Mute,
}

/// How the scheduler answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerState {
    /// As it should.
    #[default]
    Up,
    /// Not now: what is submitted seems to have failed, and becomes a job once the scheduler is up again.
    Hung,
    /// Not at all: what is submitted is lost.
    Down,
}

/// The services behind a system, as a test sets them.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// The login node.
    pub ssh: SshState,
    /// The scheduler.
    pub scheduler: SchedulerState,
    /// The scheduler's accounting database does not answer.
    pub accounting_down: bool,
    /// The storage does not answer.
    pub storage_down: bool,
}

/// What went wrong on the way to a system.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    Refused,
    LoginTimeout,
    NoCredentials {
        user: String,
    },
    NoChannel,
    CommandTimeout,
    /// A Slurm command failed with this text.
    Slurm(String),
}

/// The calls, by how they tell of trouble.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Surface {
    Files,
    Submit,
    Cancel,
    /// One job or all of them.
    Query,
    /// Nodes, partitions and reservations.
    Status,
    UserInfo,
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Self::Refused => REFUSED.to_owned(),
            Self::LoginTimeout => LOGIN_TIMEOUT.to_owned(),
            Self::NoCredentials { user } => format!("No SSH credentials found for user:{user}"),
            Self::NoChannel => "Unable to open a new SSH channel.".to_owned(),
            Self::CommandTimeout => COMMAND_TIMEOUT.to_owned(),
            Self::Slurm(text) => text.clone(),
        }
    }

    /// The trouble as a call of this surface tells it.
    pub(crate) fn seen_by(self, surface: Surface) -> Problem {
        match surface {
            Surface::Files | Surface::Submit | Surface::Cancel => self.seen_directly(surface),
            Surface::Query => {
                let problem = Problem::server_error(SLURM);
                let is_silent = self == Self::Refused;
                if is_silent {
                    problem
                } else {
                    problem.caused_by([self.text()])
                }
            }
            Surface::Status => {
                let problem = Problem::server_error(self.text());
                let is_silent = self == Self::Refused;
                if is_silent {
                    problem
                } else {
                    problem.caused_by([self.text()])
                }
            }
            Surface::UserInfo => {
                let inner = (self != Self::Refused).then(|| self.text());
                Problem::server_error(SLURM).caused_by(std::iter::once(SLURM.to_owned()).chain(inner))
            }
        }
    }

    fn seen_directly(self, surface: Surface) -> Problem {
        match self {
            Self::Refused => Problem::server_error("(111, 'Connection refused')")
                .anonymous()
                .breaks_connection(),
            Self::LoginTimeout => Problem::new(StatusCode::REQUEST_TIMEOUT, LOGIN_TIMEOUT),
            Self::NoCredentials { .. } => Problem::server_error(format!("('{}',)", self.text())),
            Self::NoChannel => Problem::new(StatusCode::FAILED_DEPENDENCY, self.text()),
            // The script is still being sent when the time is over.
            Self::CommandTimeout if surface == Surface::Submit => {
                Problem::server_error("('Channel not open for sending',)")
                    .anonymous()
                    .breaks_connection()
            }
            Self::CommandTimeout => Problem::new(StatusCode::REQUEST_TIMEOUT, COMMAND_TIMEOUT),
            Self::Slurm(text) => Problem::server_error(text),
        }
    }
}

/// The way to a system: its services' states and the channels in use.
#[derive(Debug, Default)]
pub(crate) struct Link {
    services: Mutex<Services>,
    channels: Mutex<HashMap<String, usize>>,
}

/// Channels in use, which its end gives back.
pub(crate) struct Channels<'a> {
    link: &'a Link,
    user: String,
    count: usize,
}

impl Drop for Channels<'_> {
    fn drop(&mut self) {
        if let Some(used) = lock(&self.link.channels).get_mut(&self.user) {
            *used -= self.count;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who logs in, and what holds then.
#[derive(Clone, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) has_credentials: bool,
    pub(crate) patience: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) channel_limit: usize,
}

impl Link {
    pub(crate) fn services(&self) -> Services {
        *lock(&self.services)
    }

    pub(crate) fn set_services(&self, services: Services) {
        *lock(&self.services) = services;
    }

    async fn log_in(&self, login: &Login<'_>, count: usize) -> Result<Channels<'_>, Trouble> {
        if !login.has_credentials {
            return Err(Trouble::NoCredentials {
                user: login.user.to_owned(),
            });
        }
        match self.services().ssh {
            SshState::Up => {}
            SshState::Refused => return Err(Trouble::Refused),
            SshState::Mute => {
                sleep(login.patience).await;
                return Err(Trouble::LoginTimeout);
            }
        }
        let mut channels = lock(&self.channels);
        let used = channels.entry(login.user.to_owned()).or_default();
        if *used + count > login.channel_limit {
            return Err(Trouble::NoChannel);
        }
        *used += count;
        Ok(Channels {
            link: self,
            user: login.user.to_owned(),
            count,
        })
    }

    /// Carries out a remote command of `count` channels within the timeout.
    pub(crate) async fn run<T>(
        &self,
        login: &Login<'_>,
        count: usize,
        command: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        let _channels = self.log_in(login, count).await?;
        timeout(login.command_timeout, command)
            .await
            .map_err(|_| Trouble::CommandTimeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(trouble: Trouble, surface: Surface, status: u16, message: &str, causes: Option<&[&str]>) {
        let problem = trouble.seen_by(surface);
        assert_eq!(
            (problem.status.as_u16(), problem.message.as_str()),
            (status, message)
        );
        let expected = causes.map(|causes| causes.iter().map(|&cause| cause.to_owned()).collect());
        assert_eq!(problem.caused_by, expected);
    }

    #[test]
    fn each_call_tells_of_trouble_in_its_own_way() {
        check(Trouble::LoginTimeout, Surface::Files, 408, LOGIN_TIMEOUT, None);
        check(
            Trouble::LoginTimeout,
            Surface::Query,
            500,
            SLURM,
            Some(&[LOGIN_TIMEOUT]),
        );
        check(
            Trouble::LoginTimeout,
            Surface::UserInfo,
            500,
            SLURM,
            Some(&[SLURM, LOGIN_TIMEOUT]),
        );
        check(
            Trouble::LoginTimeout,
            Surface::Status,
            500,
            LOGIN_TIMEOUT,
            Some(&[LOGIN_TIMEOUT]),
        );
        check(
            Trouble::CommandTimeout,
            Surface::Submit,
            500,
            "('Channel not open for sending',)",
            None,
        );
        check(
            Trouble::CommandTimeout,
            Surface::Cancel,
            408,
            COMMAND_TIMEOUT,
            None,
        );
        check(Trouble::Refused, Surface::Status, 500, REFUSED, None);
        check(Trouble::Refused, Surface::UserInfo, 500, SLURM, Some(&[SLURM]));
    }
}
