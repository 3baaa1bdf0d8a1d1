//! Host, port and path of a key or a reference, and when the former fits the latter.

/// A key or a reference, taken apart.
pub(super) struct Pattern<'a> {
    host: &'a str,
    port: &'a str,
    path: &'a str,
}

impl<'a> Pattern<'a> {
    /// Takes a normalised key or a reference apart at its first `/`.
    pub(super) fn of(text: &'a str) -> Self {
        let (authority, path) = text.find('/').map_or((text, ""), |slash| text.split_at(slash));
        let (host, port) = match authority.split_once(':') {
            // Two colons are no host and port: without brackets it is not said where the port begins.
            Some((host, port)) if !port.contains(':') => (host, port),
            _ => (authority, ""),
        };
        Self { host, port, path }
    }

    /// Whether this key is for `target`: the same port, host labels that match one by one, and a path that begins
    /// with the key's.
    pub(super) fn matches(&self, target: &Self) -> bool {
        self.port == target.port
            && target.path.starts_with(self.path)
            && self.host.split('.').count() == target.host.split('.').count()
            && self
                .host
                .split('.')
                .zip(target.host.split('.'))
                .all(|(label, text)| glob(label, text))
    }
}

/// Shell matching of one label: `*` any run, `?` any character, `[a-z]` or `[^a-z]` one of a set, `\` takes the next
/// character literally. A malformed pattern matches nothing.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on when the characters after the last star do not fit: one further in the text.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            retry = Some((p, t + 1));
        } else if let Some(next) = one(&pattern, p, text[t]) {
            p = next;
            t += 1;
        } else if let Some((star, from)) = retry {
            (p, t) = (star, from);
            retry = Some((star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The position after the element at `at`, if that element matches `c`.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '\\' => (*pattern.get(at + 1)? == c).then_some(at + 2),
        '[' => set(pattern, at + 1, c),
        literal => (literal == c).then_some(at + 1),
    }
}

/// The position after the set that begins at `at`, if the set matches `c`.
fn set(pattern: &[char], mut at: usize, c: char) -> Option<usize> {
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let first = at;
    let mut found = false;
    while at == first || *pattern.get(at)? != ']' {
        let low = *pattern.get(at)?;
        let is_range = pattern.get(at + 1) == Some(&'-') && pattern.get(at + 2).is_some_and(|c| *c != ']');
        let high = if is_range { *pattern.get(at + 2)? } else { low };
        found |= (low..=high).contains(&c);
        at += if is_range { 3 } else { 1 };
    }
    (found != negated).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_match_as_in_a_shell() {
        let cases = [
            ("", "", true),
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b", "abc", false),
            ("a*b*c", "aXbYbc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("r[ab]x", "rbx", true),
            ("r[^ab]x", "rbx", false),
            ("r[^ab]x", "rcx", true),
            ("r[a-c]x", "rbx", true),
            ("r[a-", "ra", false),
            ("r[", "r[", false),
            ("r\\*", "r*", true),
            ("r\\*", "rx", false),
            ("a", "ab", false),
            ("ab", "a", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!glob(&"*a".repeat(200), &"a".repeat(199)));
        assert!(glob(&"*a".repeat(200), &"a".repeat(200)));
    }
}
