//! Where the readers of one file put what they find to say.

use std::{cell::RefCell, sync::Arc};

use crate::{
    fault::{Fault, Place, Unsupported, Warning},
    tree::Position,
};

/// One reading of one file.
#[derive(Debug)]
pub(crate) struct Reading {
    file: Arc<str>,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Warning>>,
    unsupported: RefCell<Vec<Unsupported>>,
    given: RefCell<Vec<Place>>,
}

/// Everything that was said, in the order of the file.
pub(crate) struct Remarks {
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) unsupported: Vec<Unsupported>,
    pub(crate) given: Vec<Place>,
}

impl Reading {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: Arc::from(file),
            faults: RefCell::default(),
            warnings: RefCell::default(),
            unsupported: RefCell::default(),
            given: RefCell::default(),
        }
    }

    /// Remembers where a key stands.
    pub(crate) fn given(&self, place: Place) {
        self.given.borrow_mut().push(place);
    }

    pub(crate) fn place(&self, at: Position, path: &str) -> Place {
        Place::new(&self.file, at, path)
    }

    pub(crate) fn fault(&self, place: Place, problem: impl Into<String>) {
        self.push(Fault {
            place,
            problem: problem.into(),
            allowed: None,
            nearest: None,
        });
    }

    pub(crate) fn push(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// The same warning of several experiments that share a default is said once.
    pub(crate) fn warn(&self, place: &Place, message: impl Into<String>) {
        let warning = Warning {
            place: place.clone(),
            message: message.into(),
        };
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    pub(crate) fn unsupported(&self, place: &Place, feature: &'static str, synthetic_avoids: bool) {
        let unsupported = Unsupported {
            place: place.clone(),
            feature,
            synthetic_avoids,
        };
        let mut all = self.unsupported.borrow_mut();
        if !all.contains(&unsupported) {
            all.push(unsupported);
        }
    }

    pub(crate) fn into_remarks(self) -> Remarks {
        let position = |place: &Place| (place.line, place.column);
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| position(&warning.place));
        let mut unsupported = self.unsupported.into_inner();
        unsupported.sort_by_key(|unsupported| position(&unsupported.place));
        Remarks {
            faults: self.faults.into_inner(),
            warnings,
            unsupported,
            given: self.given.into_inner(),
        }
    }
}
