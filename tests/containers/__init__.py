"""The images, built and run by real tools: `pdm run test-container`. `pdm test` does not run these tests.

They need podman and buildah. Environment variables configure them: `CONTAINERS_CONF` (read by podman),
`BUILD_OPTIONS` (further options of each build) and `PYTHON_BASE` (another base image).
"""
