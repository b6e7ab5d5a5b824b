"""Minutes of attacks beside a normal user: `pdm run test-soak`."""
