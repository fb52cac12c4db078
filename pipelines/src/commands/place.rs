//! Which settings and which data directory: the arguments most commands share.

use super::Failure;
use crate::config::{Config, DEFAULT_FILE, JOBS};
use crate::pipeline::Pipeline;
use clap::builder::PossibleValuesParser;
use connectors::embedded::Log;
use sinks::embedded::Reader;
use std::path::{Path, PathBuf};

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
        }
        Ok(config)
    }

    /// The data directory, which holds the log.
    pub fn dir(&self) -> Result<PathBuf, Failure> {
        Ok(self.load()?.pipeline.data_dir)
    }

    /// Where the pipeline's state lies.
    pub fn state_dir(&self) -> Result<PathBuf, Failure> {
        let config = self.load()?;
        Ok(Pipeline::of(&config).state_dir(&config.pipeline.data_dir))
    }

    /// The tables of a data directory in which a pipeline has run.
    pub fn tables(&self) -> Result<Reader, Failure> {
        let dir = self.state_dir()?;
        expect_file(&dir, "tombola.db", "no pipeline has run there: start one with `tombola run`")?;
        Ok(Reader::open(&dir)?)
    }

    /// The log of a data directory into which something was produced.
    pub fn log(&self) -> Result<Log, Failure> {
        let dir = self.dir()?;
        expect_file(&dir, "log.db", "nothing was produced there: put records in with `tombola produce`")?;
        Ok(Log::open_read_only(&dir)?)
    }
}

fn expect_file(dir: &Path, file: &str, remedy: &str) -> Result<(), Failure> {
    if dir.join(file).exists() {
        return Ok(());
    }
    let dir = dir.display();
    Err(Failure::Usage(format!(
        "{dir} holds no {file}: {remedy}, or name another --data-dir or other --jobs"
    )))
}
