//! What the program must be so that a node with nothing but a kernel can run it.

use std::{fmt, fs, path::Path};

use anyhow::{Context, ensure};
use object::{
    Endianness, elf,
    read::elf::{ElfFile64, FileHeader, ProgramHeader},
};

/// Kernels of Grace nodes may have pages of this size, and map a file's segments only at multiples of it.
const LARGEST_PAGE: u64 = 0x1_0000;

/// A program's layout.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    segments: usize,
    alignment: u64,
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "static, {} LOAD segments aligned to {:#x}",
            self.segments, self.alignment
        )
    }
}

/// Fails unless the program is static, of that machine and aligned for every page size.
pub(crate) fn inspect(program: &Path, machine: elf::Machine) -> anyhow::Result<Layout> {
    let bytes = fs::read(program).with_context(|| format!("failed to read {}", program.display()))?;
    layout(&bytes, machine).with_context(|| format!("{} will not run on a node", program.display()))
}

fn layout(bytes: &[u8], machine: elf::Machine) -> anyhow::Result<Layout> {
    let file = ElfFile64::<Endianness>::parse(bytes).context("it is no program for Linux")?;
    let endian = file.endian();
    let found = file.elf_header().e_machine(endian);
    ensure!(found == machine, "it is for machine {found}, not for {machine}");
    let mut layout = Layout {
        segments: 0,
        alignment: u64::MAX,
    };
    for header in file.elf_program_headers() {
        let kind = header.p_type(endian);
        ensure!(
            kind != elf::PT_INTERP,
            "it names an interpreter, so it is linked dynamically"
        );
        ensure!(kind != elf::PT_DYNAMIC, "it has a dynamic section");
        if kind == elf::PT_LOAD {
            layout.segments += 1;
            layout.alignment = layout.alignment.min(header.p_align(endian));
        }
    }
    ensure!(layout.segments > 0, "nothing of it is loaded");
    // Only Grace's kernels have such pages; those of x86-64 have 4 KiB always.
    let wanted = if machine == elf::EM_AARCH64 {
        LARGEST_PAGE
    } else {
        0x1000
    };
    ensure!(
        layout.alignment >= wanted,
        "a segment is aligned to {:#x}, below a page of {wanted:#x}",
        layout.alignment
    );
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 64;

    /// A program with these segments, each a kind and an alignment.
    fn program(machine: elf::Machine, segments: &[(elf::ProgramType, u64)]) -> Vec<u8> {
        let count = u16::try_from(segments.len()).expect("a few");
        let mut bytes = vec![0; HEADER];
        bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        bytes[16..18].copy_from_slice(&elf::ET_EXEC.0.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.0.to_le_bytes());
        bytes[20] = 1;
        bytes[32..40].copy_from_slice(&(HEADER as u64).to_le_bytes());
        bytes[52..54].copy_from_slice(&64_u16.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&count.to_le_bytes());
        for (kind, alignment) in segments {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.0.to_le_bytes());
            header[48..].copy_from_slice(&alignment.to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn only_what_every_node_can_run_passes() {
        let check = |machine, segments: &[(elf::ProgramType, u64)], expected: Result<u64, &str>| {
            let found = layout(&program(machine, segments), elf::EM_AARCH64);
            let found = found
                .map(|layout| layout.alignment)
                .map_err(|error| error.to_string());
            match expected {
                Ok(alignment) => assert_eq!(found, Ok(alignment)),
                Err(words) => assert!(
                    found.as_ref().is_err_and(|error| error.contains(words)),
                    "{found:?}"
                ),
            }
        };
        let load = elf::PT_LOAD;
        check(
            elf::EM_AARCH64,
            &[(load, 0x1_0000), (load, 0x2_0000)],
            Ok(0x1_0000),
        );
        check(
            elf::EM_AARCH64,
            &[(load, 0x1_0000), (load, 0x1000)],
            Err("aligned to 0x1000"),
        );
        check(
            elf::EM_AARCH64,
            &[(load, 0x1_0000), (elf::PT_INTERP, 1)],
            Err("interpreter"),
        );
        check(
            elf::EM_AARCH64,
            &[(load, 0x1_0000), (elf::PT_DYNAMIC, 8)],
            Err("dynamic"),
        );
        check(elf::EM_AARCH64, &[], Err("nothing of it is loaded"));
        check(elf::EM_X86_64, &[(load, 0x1_0000)], Err("it is for machine 62"));
        let nothing = layout(b"#!/bin/sh", elf::EM_AARCH64);
        assert!(nothing.is_err_and(|error| error.to_string().contains("no program")));
    }
}
