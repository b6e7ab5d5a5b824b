"""Run the `todo-service` command with `python -m todo_service`."""

from todo_service.cli import main

main()
