"""`python -m todo_service` is `todo-service`."""

from todo_service.cli import main

main()
