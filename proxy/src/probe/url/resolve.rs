//! Paths relative to others.

/// `resolvePath`: a path relative to another, without `.` and `..`.
pub(super) fn resolve(base: &[u8], reference: &[u8]) -> Vec<u8> {
    let full = match reference {
        [] => base.to_vec(),
        [b'/', ..] => reference.to_vec(),
        _ => {
            let end = base
                .iter()
                .rposition(|&byte| byte == b'/')
                .map_or(0, |slash| slash + 1);
            [base.get(..end).unwrap_or_default(), reference].concat()
        }
    };
    if full.is_empty() {
        return full;
    }
    let mut resolved = vec![b'/'];
    let mut is_first = true;
    let mut last: &[u8] = b"";
    for element in full.split(|&byte| byte == b'/') {
        last = element;
        match element {
            b"." => is_first = false,
            b".." => {
                let parent = resolved.iter().skip(1).rposition(|&byte| byte == b'/');
                resolved.truncate(parent.map_or(1, |slash| slash + 1));
                is_first = resolved.len() == 1;
            }
            _ => {
                if !is_first {
                    resolved.push(b'/');
                }
                resolved.extend(element);
                is_first = false;
            }
        }
    }
    if matches!(last, b"." | b"..") {
        resolved.push(b'/');
    }
    if resolved.get(1) == Some(&b'/') {
        resolved.remove(0);
    }
    resolved
}
