//! Answer admin requests over HTTP and serve the dashboard.
