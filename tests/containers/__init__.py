"""The images, built and run by real tools: `pdm run test-container` starts these tests, `pdm test` does not.

They need podman and buildah. What a machine wants beyond their defaults it says in the environment: `CONTAINERS_CONF`
(read by podman itself), `BUILD_OPTIONS` (further options of each build) and `PYTHON_BASE` (another base image).
"""
