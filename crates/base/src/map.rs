//! placeholder for the shared map's layout
