//! A template: a text with placeholders, and where in an image it goes.

use crate::failure::Failure;
use crate::size::Size;
use serde_json::Value;
use std::path::Path;

/// Bytes that a template may fill.
const SIZE_MAX: u64 = 64 << 10;

/// A template as its file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// Where it goes, in bytes from the image's begin.
    pub(super) offset: u64,
    /// Bytes that it fills, with zeros after the text.
    pub(super) size: u64,
    pub(super) text: String,
}

impl Template {
    /// Reads a file: TOML, or JSON if its name says so or it begins like that.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read or makes no sense.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::io(path.display(), &error))?;
        let is_json = path.extension().is_some_and(|ending| ending == "json") || text.trim_start().starts_with('{');
        let found = if is_json { from_json(&text) } else { from_toml(&text) };
        found.and_then(|value| Self::new(&value)).map_err(|failure| failure.at(path.display()))
    }

    fn new(value: &Value) -> Result<Self, Failure> {
        let wrong = |text: String| Failure::usage(text);
        let Some(object) = value.as_object() else {
            return Err(wrong("a template has `offset`, `size` and `text`".to_owned()));
        };
        if let Some(other) = object.keys().find(|key| !["offset", "size", "text"].contains(&key.as_str())) {
            return Err(wrong(format!("`{other}` is not known; a template has `offset`, `size` and `text`")));
        }
        let amount = |key: &str| match object.get(key) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse::<Size>().ok().map(|size| size.0),
            _ => None,
        };
        let needed = |key: &str| {
            amount(key).ok_or_else(|| wrong(format!("`{key}` is a number of bytes, such as 512 or \"1M\"")))
        };
        let (offset, size) = (needed("offset")?, needed("size")?);
        let text = object.get("text").and_then(Value::as_str);
        let text = text.ok_or_else(|| wrong("`text` is a text, with {ip} and so on".to_owned()))?.to_owned();
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(wrong(format!("`size` is from 1 to {SIZE_MAX} bytes, and not {size}")));
        }
        Ok(Self { offset, size, text })
    }

    /// A text that was filled in, with zeros after it.
    ///
    /// # Errors
    /// [`Failure`] if it is too long.
    pub(super) fn padded(&self, text: String) -> Result<Vec<u8>, Failure> {
        let mut bytes = text.into_bytes();
        if bytes.len() as u64 > self.size {
            let (has, length) = (self.size, bytes.len());
            return Err(Failure::usage(format!(
                "the template's text becomes {length} bytes long, and its `size` is {has}"
            )));
        }
        bytes.resize(usize::try_from(self.size).expect("it is at most 64 KiB"), 0);
        Ok(bytes)
    }
}

fn from_json(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::usage(error.to_string()))
}

fn from_toml(text: &str) -> Result<Value, Failure> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        Failure::usage(format!("line {line}: {}", error.message()))
    })?;
    let value = |value: toml::Value| match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        _ => Value::Null,
    };
    Ok(table.into_iter().map(|(key, found)| (key, value(found))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Template, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
        Template::read(&dir.path().join(name)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn templates_are_toml_or_json() {
        let wanted = Template { offset: 1 << 20, size: 512, text: "ip={ip}\n".to_owned() };
        assert_eq!(read("t", "offset = '1M'\nsize = 512\ntext = '''\nip={ip}\n'''\n").unwrap(), wanted);
        assert_eq!(read("t.json", r#"{"offset": 1048576, "size": "512", "text": "ip={ip}\n"}"#).unwrap(), wanted);
        assert_eq!(wanted.padded("ip=1\n".to_owned()).unwrap().len(), 512);
        assert!(
            wanted.padded("x".repeat(513)).unwrap_err().to_string().contains("513 bytes long, and its `size` is 512")
        );
    }

    #[test]
    fn what_is_no_template_says_why() {
        for (text, said) in [
            ("offset = 1", "`size` is a number of bytes"),
            ("offset = -1\nsize = 1\ntext = ''", "`offset` is a number of bytes"),
            ("offset = 1\nsize = 100000\ntext = ''", "`size` is from 1 to 65536 bytes, and not 100000"),
            ("offset = 1\nsize = 1", "`text` is a text"),
            ("ofset = 1", "`ofset` is not known"),
            ("offset 1", "line 1: "),
            ("{]", "at line 1"),
        ] {
            let error = read("t", text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(read("t.json", "[1]").unwrap_err().contains("a template has `offset`, `size` and `text`"));
    }
}
