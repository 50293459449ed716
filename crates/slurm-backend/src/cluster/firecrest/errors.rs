//! What the client's errors mean for a call.

use firecrest_client::{
    AdoptError, Cause, Class, Error, SubmitError, SubmitFault, TransferError, UploadError,
};

use super::super::{ClusterErrorKind, assembly::AssemblyError, words};

/// Why a call failed.
pub(super) enum Fault {
    Call(Error),
    Upload(UploadError),
    Transfer(TransferError),
    Adopt(AdoptError),
    Submit(SubmitError),
    Local(AssemblyError),
    Invalid(String),
}

impl Fault {
    pub(super) fn kind(&self) -> ClusterErrorKind {
        match self {
            Self::Call(error) | Self::Upload(UploadError::Call(error)) => kind_of(error),
            Self::Transfer(error) => kind_of_transfer(error),
            Self::Adopt(error) => kind_of_adoption(error),
            Self::Submit(error) => match &error.fault {
                SubmitFault::Call(error) => kind_of(error),
                SubmitFault::Adopt(error) => kind_of_adoption(error),
                _ => ClusterErrorKind::Invalid,
            },
            // A piece that arrived otherwise than it should may arrive well.
            Self::Local(AssemblyError::Checksum { .. }) => ClusterErrorKind::Away,
            Self::Local(AssemblyError::Local { .. }) | Self::Upload(_) | Self::Invalid(_) => {
                ClusterErrorKind::Invalid
            }
        }
    }

    pub(super) fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Call(error) => error.into(),
            Self::Upload(error) => error.into(),
            Self::Transfer(error) => error.into(),
            Self::Adopt(error) => error.into(),
            Self::Submit(error) => error.into(),
            Self::Local(error) => error.into(),
            Self::Invalid(reason) => reason.into(),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        Self::Upload(error)
    }
}

impl From<TransferError> for Fault {
    fn from(error: TransferError) -> Self {
        Self::Transfer(error)
    }
}

impl From<AdoptError> for Fault {
    fn from(error: AdoptError) -> Self {
        Self::Adopt(error)
    }
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Self {
        Self::Submit(error)
    }
}

impl From<AssemblyError> for Fault {
    fn from(error: AssemblyError) -> Self {
        Self::Local(error)
    }
}

fn kind_of(error: &Error) -> ClusterErrorKind {
    match (error.class(), error.cause()) {
        (Class::Retry | Class::Ambiguous, _) => ClusterErrorKind::Away,
        (Class::Unauthenticated, _) | (Class::Permanent, Cause::Token(_)) => ClusterErrorKind::Refused,
        (Class::Permanent, Cause::Refused(refusal)) => {
            let mut texts = std::iter::once(&refusal.message).chain(&refusal.caused_by);
            match texts.find_map(|text| words::kind_of(text)) {
                // The client has judged that it does not pass.
                Some(ClusterErrorKind::Away) | None if refusal.status == 403 => ClusterErrorKind::Forbidden,
                Some(ClusterErrorKind::Away) | None => ClusterErrorKind::Invalid,
                Some(kind) => kind,
            }
        }
        (Class::Permanent, _) => ClusterErrorKind::Invalid,
    }
}

fn kind_of_adoption(error: &AdoptError) -> ClusterErrorKind {
    match error {
        AdoptError::Unsettled { .. } => ClusterErrorKind::Away,
        AdoptError::Refused { error, .. } => kind_of(error),
        _ => ClusterErrorKind::Invalid,
    }
}

fn kind_of_transfer(error: &TransferError) -> ClusterErrorKind {
    match error {
        TransferError::Call(error) | TransferError::Upload(UploadError::Call(error)) => kind_of(error),
        TransferError::NoAccount => ClusterErrorKind::Account,
        TransferError::Wait { .. }
        | TransferError::Unverified { .. }
        | TransferError::Checksum { .. }
        | TransferError::Size { .. } => ClusterErrorKind::Away,
        TransferError::Job { log, .. } => words::kind_of(log).unwrap_or(ClusterErrorKind::Invalid),
        TransferError::JobLeft { error, .. } => kind_of_transfer(error),
        _ => ClusterErrorKind::Invalid,
    }
}
