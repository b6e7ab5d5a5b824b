"""The service behind real proxies, with the configurations that docs/operations.md prints.

The tests need these Debian packages: `nginx`, `apache2-bin`, `caddy`, `chromium` and `chromium-driver`.
"""
