//! What the server tells of users, partitions, nodes and reservations.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::lenient;

/// When the systems' health was checked last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Liveness {
    /// The time by system.
    #[serde(
        default,
        rename = "healthcheckRuns",
        alias = "healthcheck_runs",
        deserialize_with = "lenient::or_default"
    )]
    pub healthcheck_runs: BTreeMap<String, Option<String>>,
    /// The seconds since the last update.
    #[serde(
        default,
        rename = "lastUpdate",
        alias = "last_update",
        deserialize_with = "lenient::optional_number"
    )]
    pub last_update_s: Option<i64>,
}

/// A user and what the user may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UserInfo {
    /// The user.
    pub user: UserIdentity,
    /// The primary group; newer servers mark it among the groups.
    #[serde(default)]
    pub group: Option<Group>,
    /// All groups.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub groups: Vec<Group>,
    /// The accounts that jobs may be charged to.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub accounts: Vec<Account>,
}

impl UserInfo {
    /// The primary group, wherever the server tells it.
    pub fn primary_group(&self) -> Option<&Group> {
        self.group
            .as_ref()
            .or_else(|| self.groups.iter().find(|group| group.default))
    }

    /// The account that is used when a job names none.
    pub fn default_account(&self) -> Option<&Account> {
        self.accounts.iter().find(|account| account.default)
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UserIdentity {
    /// The number.
    #[serde(default, deserialize_with = "lenient::text")]
    pub id: String,
    /// The name.
    pub name: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// The number.
    #[serde(default, deserialize_with = "lenient::text")]
    pub id: String,
    /// The name.
    pub name: String,
    /// Whether it is the primary group, as newer servers tell.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub default: bool,
}

/// An account that jobs may be charged to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Account {
    /// The name.
    pub name: String,
    /// Whether it is used when a job names none.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub default: bool,
}

/// A partition. The server does not tell its limits in time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Partition {
    /// The name.
    pub name: String,
    /// The state, such as `UP`.
    #[serde(default, rename = "partition", deserialize_with = "lenient::optional_text")]
    pub state: Option<String>,
    /// The processors of all nodes.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub cpus: Option<u64>,
    /// The nodes.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub total_nodes: Option<u64>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Node {
    /// The name.
    pub name: String,
    /// The states, such as `IDLE` or `DRAIN`.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub state: Vec<String>,
    /// The partitions that it is in.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub partitions: Vec<String>,
    /// Its features.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub features: Option<String>,
    /// Its processors.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub cpus: Option<u64>,
    /// The processors that no job has.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub idle_cpus: Option<u64>,
}

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Reservation {
    /// The name.
    pub name: String,
    /// Its nodes in Slurm's compact form; see [`expand_nodes`](crate::expand_nodes).
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub node_list: Option<String>,
    /// The start, in seconds since 1970.
    #[serde(default, rename = "startTime", deserialize_with = "lenient::optional_number")]
    pub start_s: Option<i64>,
    /// The end, in seconds since 1970.
    #[serde(default, rename = "endTime", deserialize_with = "lenient::optional_number")]
    pub end_s: Option<i64>,
    /// `active` or `inactive`.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub state: Option<String>,
    /// The features that its nodes must have.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub features: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users_of_both_releases_are_read() {
        let check = |value: serde_json::Value| {
            let user: UserInfo = serde_json::from_value(value).expect("a user");
            assert_eq!(
                user.primary_group().map(|group| group.name.as_str()),
                Some("lab01")
            );
            assert_eq!(
                user.default_account().map(|account| account.name.as_str()),
                Some("a-lab01")
            );
        };
        let accounts = json!([{ "name": "a-lab01", "default": true }]);
        check(json!({
            "user": { "id": "25001", "name": "tester" }, "group": { "id": "25100", "name": "lab01" },
            "groups": [{ "id": "25100", "name": "lab01" }], "accounts": accounts,
        }));
        check(json!({
            "user": { "id": 25001, "name": "tester" },
            "groups": [{ "id": "1", "name": "other" }, { "id": "25100", "name": "lab01", "default": true }],
            "accounts": accounts,
        }));
    }
}
