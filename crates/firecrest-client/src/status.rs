//! Systems and what they are made of.

mod resources;
mod system;

use serde::Deserialize;

pub(crate) use self::system::download_limit;
pub use self::{
    resources::{Account, Group, Liveness, Node, Partition, Reservation, UserIdentity, UserInfo},
    system::{
        DataOperation, DataTransfer, FileSystem, Health, Multipart, Probing, Scheduler, Ssh, SshTimeouts,
        System,
    },
};
use crate::{
    call::{Call, path},
    client::Client,
    error::Error,
    names::SystemName,
};

/// The calls below `/status`.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    client: &'a Client,
}

#[derive(Deserialize)]
struct Systems {
    systems: Vec<System>,
}

#[derive(Deserialize)]
struct Partitions {
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Reservations {
    reservations: Vec<Reservation>,
}

impl<'a> Status<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client }
    }

    /// All systems with their health and limits, those that the user may not use included.
    ///
    /// It needs a token and no cluster: the cheapest test of the credentials.
    pub async fn systems(&self) -> Result<Vec<System>, Error> {
        let done = self.client.run(Call::get("/status/systems".to_owned())).await?;
        done.json::<Systems>().map(|answer| answer.systems)
    }

    /// The system of this name, if the API has it. The server takes names in any case.
    pub async fn system(&self, name: &SystemName) -> Result<Option<System>, Error> {
        let systems = self.systems().await?;
        Ok(systems
            .into_iter()
            .find(|system| system.name.eq_ignore_ascii_case(name.as_str())))
    }

    /// When the systems' health was checked last. It needs no credentials.
    pub async fn liveness(&self) -> Result<Liveness, Error> {
        let mut call = Call::get("/status/liveness/".to_owned());
        call.is_public = true;
        let done = self.client.run(call).await?;
        // The keys of this document are names of systems, so their case style is not changed.
        match serde_json::from_slice(&done.body) {
            Ok(liveness) => Ok(liveness),
            Err(fault) => Err(done.unreadable(fault.to_string())),
        }
    }

    /// The user, the user's groups, and the accounts that jobs may be charged to.
    pub async fn user_info(&self, system: &SystemName) -> Result<UserInfo, Error> {
        self.client
            .run(Call::get(path::status(system, "userinfo")))
            .await?
            .json()
    }

    /// The partitions of the scheduler; hidden ones if asked for.
    pub async fn partitions(&self, system: &SystemName, show_hidden: bool) -> Result<Vec<Partition>, Error> {
        let call = Call::get(path::status(system, "partitions")).flag("show_hidden", show_hidden);
        self.client
            .run(call)
            .await?
            .json::<Partitions>()
            .map(|answer| answer.partitions)
    }

    /// The nodes and what they do.
    pub async fn nodes(&self, system: &SystemName) -> Result<Vec<Node>, Error> {
        let call = Call::get(path::status(system, "nodes"));
        self.client
            .run(call)
            .await?
            .json::<Nodes>()
            .map(|answer| answer.nodes)
    }

    /// The reservations of the scheduler.
    pub async fn reservations(&self, system: &SystemName) -> Result<Vec<Reservation>, Error> {
        let call = Call::get(path::status(system, "reservations"));
        self.client
            .run(call)
            .await?
            .json::<Reservations>()
            .map(|answer| answer.reservations)
    }
}
