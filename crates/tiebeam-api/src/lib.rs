//! State the admin contract: requests, answers, versions.
