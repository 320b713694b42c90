//! placeholder
use crate::{Fault, options::Options};
pub(crate) const LIFE: &str = "life";
pub(crate) fn run(_: &Options) -> Result<(), Fault> {
    Ok(())
}
pub(crate) fn live(_: &[String]) -> Result<(), Fault> {
    Ok(())
}
