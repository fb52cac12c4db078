//! A gzipped tar file of documents, read in memory within a limit: a small file can unpack to a huge one.

use std::io::Read;

/// Hands every regular file of the archive to `each`, by its path without a leading `./`.
///
/// # Errors
/// What is wrong with the archive; `each` may have had some of its files by then.
pub fn unpack(archive: &[u8], bytes_max: u64, mut each: impl FnMut(&str, &[u8])) -> Result<(), String> {
    let bad = |e: std::io::Error| format!("the archive can't be unpacked: {e}");
    // One byte more than the limit: whoever reads it has gone past.
    let mut limited = flate2::read::MultiGzDecoder::new(archive).take(bytes_max.saturating_add(1));
    let mut tar = tar::Archive::new(&mut limited);
    let mut files = Vec::new();
    for entry in tar.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(bad)?;
        let path = path.to_str().ok_or("the archive holds a file whose name is not UTF-8")?;
        let path = path.trim_start_matches("./").to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(bad)?;
        files.push((path, content));
    }
    // The end of the compressed stream holds its checksum: read up to it.
    std::io::copy(&mut limited, &mut std::io::sink()).map_err(bad)?;
    if limited.limit() == 0 {
        return Err(format!("the archive unpacks to more than rows.unpacked_bytes_max, {bytes_max} bytes"));
    }
    files.sort();
    files.iter().for_each(|(path, content)| each(path, content));
    Ok(())
}
