//! What kind of machine a program is for, by its first bytes: programs of other machines cannot be tried out here.

use crate::bundles::Architecture;

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// A program of Linux for this kind of machine.
    Linux(Linux),
    /// No program of Linux: a script, or a program of another system.
    Other,
}

/// A program of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Linux {
    /// The machine; absent for one that there are no bundles for.
    pub(crate) architecture: Option<Architecture>,
    /// Whether it needs nothing but a kernel.
    pub(crate) is_static: bool,
}

impl Program {
    /// Reads the header of a program.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        elf(bytes).map_or(Self::Other, Self::Linux)
    }

    /// Whether this machine can start it.
    pub(crate) fn runs_here(self) -> bool {
        match self {
            Self::Linux(program) => {
                let here = std::env::consts::ARCH.parse::<Architecture>().ok();
                std::env::consts::OS == "linux"
                    && program.architecture.is_some()
                    && program.architecture == here
            }
            Self::Other => true,
        }
    }
}

const MAGIC: &[u8] = b"\x7fELF";
/// 64 bits.
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
/// Also a program that lies wherever it is put.
const SHARED: u16 = 3;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const INTERPRETER: u32 = 3;

/// The parts of an ELF file's header that are needed: class and order, type, machine, and the kinds of its segments.
fn elf(bytes: &[u8]) -> Option<Linux> {
    if bytes.get(..4)? != MAGIC || *bytes.get(4)? != CLASS_64 || *bytes.get(5)? != LITTLE_ENDIAN {
        return None;
    }
    if !matches!(half(bytes, 16)?, EXECUTABLE | SHARED) {
        return None;
    }
    let architecture = match half(bytes, 18)? {
        X86_64 => Some(Architecture::X86_64),
        AARCH64 => Some(Architecture::Aarch64),
        _ => None,
    };
    let table = usize::try_from(u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(half(bytes, 54)?), usize::from(half(bytes, 56)?));
    let mut is_static = true;
    for index in 0..count {
        let at = table.checked_add(size.checked_mul(index)?)?;
        let kind = bytes.get(at..at.checked_add(4)?)?;
        is_static &= u32::from_le_bytes(kind.try_into().ok()?) != INTERPRETER;
    }
    Some(Linux {
        architecture,
        is_static,
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The header of a program for this machine, with these kinds of segments.
    pub(crate) fn header(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', CLASS_64, LITTLE_ENDIAN]);
        bytes[16..18].copy_from_slice(&EXECUTABLE.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(segments.len()).expect("few").to_le_bytes());
        for kind in segments {
            let mut segment = vec![0; 56];
            segment[..4].copy_from_slice(&kind.to_le_bytes());
            bytes.extend(segment);
        }
        bytes
    }

    #[test]
    fn programs_say_what_they_are() {
        let check = |bytes: &[u8], expected: Program| assert_eq!(Program::read(bytes), expected);
        let linux = |architecture, is_static| {
            Program::Linux(Linux {
                architecture,
                is_static,
            })
        };
        check(
            &header(AARCH64, &[1, 1]),
            linux(Some(Architecture::Aarch64), true),
        );
        check(&header(X86_64, &[1, 3]), linux(Some(Architecture::X86_64), false));
        check(&header(243, &[1]), linux(None, true));
        check(b"#!/bin/sh\n", Program::Other);
        check(b"\xcf\xfa\xed\xfe a program of macOS", Program::Other);
        check(b"", Program::Other);
        let whole = header(AARCH64, &[1, 1]);
        check(&whole[..70], Program::Other);
        let mut object = whole.clone();
        object[16] = 1;
        check(&object, Program::Other);
    }

    #[test]
    fn this_test_runs_here() {
        let own = std::fs::read(std::env::current_exe().expect("a program")).expect("it can be read");
        let program = Program::read(&own);
        assert!(program.runs_here());
        if cfg!(target_os = "linux") {
            assert!(matches!(program, Program::Linux(_)), "{program:?}");
        }
        let foreign = if cfg!(target_arch = "aarch64") {
            X86_64
        } else {
            AARCH64
        };
        assert!(!Program::read(&header(foreign, &[1])).runs_here());
    }
}
