//! Random ids.

/// A random id of the shape of a UUID, version 4.
pub(crate) fn random_id() -> String {
    let bits = rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{bits:032x}");
    let (head, tail) = (&digits[..16], &digits[16..]);
    format!(
        "{}-{}-{}-{}-{}",
        &head[..8],
        &head[8..12],
        &head[12..],
        &tail[..4],
        &tail[4..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_shape_of_uuids() {
        let id = random_id();
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_ne!(id, random_id());
    }
}
