//! Which settings and which data directory: the arguments most commands share.

use super::Failure;
use crate::config::{Config, ConfigError, DEFAULT_FILE, JOBS};
use crate::stores::{LogView, Stores, Tables};
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;

/// Where to work.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// Settings file (TOML). Without it: tombola.toml of the data directory named by --data-dir, else of the
    /// current directory, where there is one, else the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; overrides pipeline.data_dir of the settings.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The jobs of the pipeline that is meant, separated by commas; overrides pipeline.jobs of the settings.
    /// Jobs without sales are a pipeline of their own, with its state in DATA_DIR/jobs/.
    #[arg(long, value_name = "JOBS", value_delimiter = ',', value_parser = PossibleValuesParser::new(JOBS))]
    pub jobs: Vec<String>,
}

impl Place {
    /// The settings, with the data directory that was asked for.
    pub fn load(&self) -> Result<Config, Failure> {
        let beside_data =
            self.data_dir.as_ref().map(|dir| dir.join(DEFAULT_FILE)).filter(|file| file.exists());
        let mut config = Config::load(self.config.as_deref().or(beside_data.as_deref()))?;
        if let Some(dir) = &self.data_dir {
            config.pipeline.data_dir = dir.clone();
        }
        if !self.jobs.is_empty() {
            config.pipeline.jobs = self.jobs.clone();
            if config.runs("draws") && !config.runs("sales") {
                return Err(ConfigError::DrawsApart.into());
            }
        }
        Ok(config)
    }

    /// The stores of the pipeline that is meant.
    pub fn stores(&self) -> Result<Stores, Failure> {
        let config = self.load()?;
        Ok(Stores::of(&config, &config.pipeline.data_dir))
    }

    /// The tables of a pipeline that has run.
    pub fn tables(&self) -> Result<Box<dyn Tables>, Failure> {
        Ok(self.stores()?.tables()?)
    }

    /// The log into which something was produced.
    pub fn log(&self) -> Result<Box<dyn LogView>, Failure> {
        Ok(self.stores()?.log()?)
    }
}
