//! Where the readers of one configuration put what they find to say.

use std::{cell::RefCell, sync::Arc};

use crate::{
    fault::{Fault, Place, Warning},
    file::Form,
    toml_words,
    tree::Position,
};

/// One reading of one configuration, with all files that it includes.
#[derive(Debug)]
pub(crate) struct Reading {
    files: RefCell<Vec<SourceFile>>,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Warning>>,
    given: RefCell<Vec<Place>>,
}

#[derive(Debug)]
struct SourceFile {
    name: Arc<str>,
    form: Form,
}

/// Everything that was said, in the order of the files and their lines.
pub(crate) struct Remarks {
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) given: Vec<Place>,
}

impl Reading {
    pub(crate) fn new(file: &str, form: Form) -> Self {
        let reading = Self {
            files: RefCell::default(),
            faults: RefCell::default(),
            warnings: RefCell::default(),
            given: RefCell::default(),
        };
        reading.add_file(file, form);
        reading
    }

    /// The index of a file for the positions in it.
    pub(crate) fn add_file(&self, name: &str, form: Form) -> u16 {
        let mut files = self.files.borrow_mut();
        let known = files.iter().position(|file| *file.name == *name);
        let index = known.unwrap_or_else(|| {
            files.push(SourceFile {
                name: Arc::from(name),
                form,
            });
            files.len() - 1
        });
        index as u16
    }

    /// How many files the configuration is made of so far.
    pub(crate) fn file_count(&self) -> usize {
        self.files.borrow().len()
    }

    /// Remembers where a key stands.
    pub(crate) fn given(&self, place: Place) {
        self.given.borrow_mut().push(place);
    }

    pub(crate) fn place(&self, at: Position, path: &str) -> Place {
        let files = self.files.borrow();
        let name = files.get(usize::from(at.file)).map(|file| Arc::clone(&file.name));
        Place::new(name.unwrap_or_else(|| Arc::from("")), at, path)
    }

    pub(crate) fn fault(&self, place: Place, problem: impl Into<String>) {
        self.push(Fault {
            place,
            problem: problem.into(),
            allowed: None,
            nearest: None,
        });
    }

    /// Takes a fault; what it quotes is written as its file writes it.
    pub(crate) fn push(&self, mut fault: Fault) {
        if self.is_toml(&fault.place) {
            fault.problem = toml_words::translate(&fault.problem);
            fault.allowed = fault.allowed.as_deref().map(toml_words::translate);
        }
        self.faults.borrow_mut().push(fault);
    }

    pub(crate) fn is_toml(&self, place: &Place) -> bool {
        let files = self.files.borrow();
        let file = files.iter().find(|file| file.name == place.file);
        file.is_some_and(|file| file.form == Form::Toml)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// The same warning of several experiments that share a default is said once.
    pub(crate) fn warn(&self, place: &Place, message: impl Into<String>) {
        let message: String = message.into();
        let warning = Warning {
            place: place.clone(),
            message: if self.is_toml(place) {
                toml_words::translate(&message)
            } else {
                message
            },
        };
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    pub(crate) fn into_remarks(self) -> Remarks {
        let files = self.files.into_inner();
        let position = |place: &Place| {
            let file = files.iter().position(|file| file.name == place.file);
            (file, place.line, place.column)
        };
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| position(&fault.place));
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| position(&warning.place));
        Remarks {
            faults,
            warnings,
            given: self.given.into_inner(),
        }
    }
}
