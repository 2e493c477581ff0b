//! Generates the types of every `.proto` file, and the descriptor that gRPC reflection serves.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<_> = std::fs::read_dir("proto")?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let descriptor = std::path::PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("millstream.bin");
    tonic_prost_build::configure().bytes(".").file_descriptor_set_path(descriptor).compile_protos(&files, &["proto".into()])
}
