//! `preprocessor_config.json`, which models of Hugging Face have beside them, as options.
//!
//! Sizes and interpolation are the tool's: both sides are given, and pixels are interpolated
//! linearly.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files;
use serde_json::Value;

use super::MAX_FILE;

/// The file's name in a model's folder.
const FILE: &str = "preprocessor_config.json";

/// The options that the file at `path`, or in the folder there, stands for: those that are `wanted`,
/// by name.
///
/// # Errors
/// If it cannot be read, or asks for what no option does.
pub fn options(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(&'static str, String)>, Error> {
    let path = file_of(path);
    let unsuitable = |why: String| Error::unsuitable(&path, why);
    let bytes =
        files::read(&path, MAX_FILE).map_err(|e| unsuitable(format!("cannot be read: {e}")))?;
    let config: Value =
        serde_json::from_slice(&bytes).map_err(|e| unsuitable(format!("is not JSON: {e}")))?;
    if !config.is_object() {
        return Err(unsuitable("is no preprocessor's configuration".to_owned()));
    }
    let config = Config(&config);
    let mut found = Vec::new();
    let mut put = |name: &'static str, value: &dyn Fn() -> Result<Option<String>, String>| {
        if wanted(name)
            && let Some(text) = value().map_err(|why| {
                unsuitable(format!("{why}; give --{name} on the command line instead"))
            })?
        {
            found.push((name, text));
        }
        Ok::<(), Error>(())
    };
    put("scale", &|| config.scale())?;
    put("mean", &|| config.numbers("image_mean"))?;
    put("std", &|| config.numbers("image_std"))?;
    put("resize", &|| config.size("do_resize", "size", true))?;
    put("crop", &|| {
        config.size("do_center_crop", "crop_size", false)
    })?;
    put("channels", &|| {
        Ok(config
            .is("do_flip_channel_order", false)
            .then(|| "bgr".to_owned()))
    })?;
    Ok(found)
}

/// The file that is meant.
pub fn file_of(path: &Path) -> PathBuf {
    match path.is_dir() {
        true => path.join(FILE),
        false => path.to_owned(),
    }
}

struct Config<'j>(&'j Value);

impl Config<'_> {
    fn is(&self, key: &str, unless_said: bool) -> bool {
        self.0
            .get(key)
            .and_then(Value::as_bool)
            .unwrap_or(unless_said)
    }

    fn scale(&self) -> Result<Option<String>, String> {
        if !self.is("do_rescale", true) {
            return Ok(Some("1".to_owned()));
        }
        match self.0.get("rescale_factor") {
            None | Some(Value::Null) => Ok(Some("1/255".to_owned())),
            Some(Value::Number(factor)) => Ok(Some(factor.to_string())),
            Some(_) => Err("rescale_factor is no number".to_owned()),
        }
    }

    /// A number a channel.
    fn numbers(&self, key: &str) -> Result<Option<String>, String> {
        if !self.is("do_normalize", true) {
            return Ok(None);
        }
        let list = match self.0.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
        };
        match list.iter().all(Value::is_number) {
            true => {
                let texts: Vec<String> = list.iter().map(Value::to_string).collect();
                Ok(Some(texts.join(",")))
            }
            false => Err(format!("{key} is no list of numbers")),
        }
    }

    /// A size that is used where `flag` says so.
    fn size(&self, flag: &str, key: &str, unless_said: bool) -> Result<Option<String>, String> {
        let size = match self.0.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(_) if !self.is(flag, unless_said) => return Ok(None),
            Some(size) => size,
        };
        // One number is both sides, but where a crop follows, older files mean the shortest edge.
        let crop = self.0.get("crop_size").is_some_and(|size| !size.is_null());
        let edge = key == "size" && size.is_number() && self.is("do_center_crop", crop);
        let side = |name: &str| size.get(name).and_then(Value::as_u64);
        match (size.as_u64(), side("height"), side("width")) {
            (Some(n), ..) if !edge => Ok(Some(n.to_string())),
            (None, Some(height), Some(width)) => Ok(Some(format!("{height}x{width}"))),
            _ if edge || side("shortest_edge").is_some() => {
                let what = match edge {
                    true => "is one number before a crop, which may mean the shortest edge only",
                    false => "names the shortest edge only",
                };
                Err(format!(
                    "{key} {what}, and images of other proportions would be cropped otherwise than the model expects"
                ))
            }
            _ => Err(format!("{key} is no size")),
        }
    }
}
