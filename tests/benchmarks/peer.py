"""The peer: a to-do service on FastAPI and Beanie, written as their documentation recommends.

It has the same fields as our todos and the indexes that the measured calls use, JWT access tokens, and a user lookup
for each request, as in FastAPI's tutorial on security. It has no rate limits, request ids, metrics, idempotency, delta
sync or export, and does not pay for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import jwt
from beanie import Document, Indexed, PydanticObjectId, UpdateResponse, init_beanie
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Response, status
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import BaseModel, ConfigDict, EmailStr, Field
from pymongo import AsyncMongoClient, IndexModel

SECRET_KEY = os.environ["SECRET_KEY"]
ALGORITHM = "HS256"
ACCESS_TOKEN_EXPIRE = timedelta(days=1)
PRIORITIES = ("none", "low", "medium", "high", "urgent")
Priority = Literal["none", "low", "medium", "high", "urgent"]

# argon2id at the same cost as our service, so that signing in is comparable
password_hash = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="/v1/auth/token")


class User(Document):
    username: Annotated[str, Indexed(unique=True)]
    email: Annotated[str, Indexed(unique=True)]
    hashed_password: str

    class Settings:
        name = "users"


class Step(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    completed: bool = False


class TodoCreate(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=10_000)
    completed: bool = False
    priority: Priority = "none"
    due_at: datetime | None = None
    tags: list[str] = Field(default=[], max_length=20)
    list_id: PydanticObjectId | None = None
    steps: list[Step] = Field(default=[], max_length=100)
    recurrence: str | None = None
    position: float = 0.0


class TodoUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    title: str = Field(default="", min_length=1, max_length=200)
    description: str = Field(default="", max_length=10_000)
    completed: bool = False
    priority: Priority = "none"
    due_at: datetime | None = None
    tags: list[str] = Field(default=[], max_length=20)


class Todo(Document):
    owner: PydanticObjectId
    title: str
    title_key: str
    description: str
    completed: bool
    completed_at: datetime | None = None
    priority: Priority
    priority_rank: int
    due_at: datetime | None
    tags: list[str]
    list_id: PydanticObjectId | None
    steps: list[Step]
    recurrence: str | None
    position: float
    words: list[str]
    version: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "todos"
        indexes = [
            IndexModel([("owner", 1), ("completed", 1), ("created_at", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("completed", 1), ("updated_at", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("completed", 1), ("due_at", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("completed", 1), ("title_key", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("completed", 1), ("position", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("completed", 1), ("priority_rank", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("tags", 1), ("completed", 1), ("created_at", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("list_id", 1), ("completed", 1), ("created_at", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("list_id", 1), ("completed", 1), ("position", 1), ("_id", 1)]),
            IndexModel([("owner", 1), ("words", 1)]),
            IndexModel([("owner", 1), ("created_at", 1), ("_id", 1)]),
        ]


class TodoOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: PydanticObjectId
    title: str
    description: str
    completed: bool
    completed_at: datetime | None
    priority: Priority
    due_at: datetime | None
    tags: list[str]
    list_id: PydanticObjectId | None
    steps: list[Step]
    recurrence: str | None
    position: float
    version: int
    created_at: datetime
    updated_at: datetime


class TodoPage(BaseModel):
    items: list[TodoOut]


class UserCreate(BaseModel):
    username: str = Field(min_length=3, max_length=32)
    email: EmailStr
    password: str = Field(min_length=12, max_length=128)


class UserOut(BaseModel):
    id: PydanticObjectId
    username: str
    email: EmailStr


class Token(BaseModel):
    access_token: str
    token_type: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(os.environ["MONGODB_URL"], tz_aware=True)
    await init_beanie(database=client.get_default_database(), document_models=[User, Todo])
    yield
    await client.close()


app = FastAPI(lifespan=lifespan)


async def get_current_user(token: Annotated[str, Depends(oauth2_scheme)]) -> User:
    unauthorized = HTTPException(
        status.HTTP_401_UNAUTHORIZED, "Could not validate credentials", headers={"WWW-Authenticate": "Bearer"}
    )
    try:
        claims = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except jwt.InvalidTokenError:
        raise unauthorized from None
    user = await User.get(claims["sub"])
    if user is None:
        raise unauthorized
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


@app.post("/v1/users", status_code=201)
async def create_user(user: UserCreate) -> UserOut:
    created = await User(
        username=user.username, email=user.email, hashed_password=password_hash.hash(user.password)
    ).insert()
    return UserOut(id=created.id, username=created.username, email=created.email)


@app.post("/v1/auth/token")
async def login(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Token:
    user = await User.find_one(User.username == form.username)
    if user is None or not password_hash.verify(form.password, user.hashed_password):
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "Incorrect username or password")
    claims = {"sub": str(user.id), "exp": datetime.now(UTC) + ACCESS_TOKEN_EXPIRE}
    return Token(access_token=jwt.encode(claims, SECRET_KEY, algorithm=ALGORITHM), token_type="bearer")


@app.post("/v1/todos", status_code=201, response_model=TodoOut)
async def create_todo(todo: TodoCreate, user: CurrentUser, response: Response) -> Todo:
    now = datetime.now(UTC)
    created = await Todo(
        **todo.model_dump(),
        owner=user.id,
        title_key=todo.title.casefold(),
        priority_rank=PRIORITIES.index(todo.priority),
        words=extract_words(todo.title, todo.description, *(step.title for step in todo.steps)),
        completed_at=now if todo.completed else None,
        created_at=now,
        updated_at=now,
    ).insert()
    response.headers["ETag"] = '"1"'
    response.headers["Location"] = f"/v1/todos/{created.id}"
    return created


@app.get("/v1/todos", response_model=TodoPage)
async def list_todos(
    user: CurrentUser,
    completed: bool | None = None,
    tag: str | None = None,
    sort: Literal["created_at", "-created_at", "due_at", "-due_at", "priority", "-priority"] = "created_at",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    skip: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, list[Todo]]:
    found = Todo.find(Todo.owner == user.id)
    if completed is not None:
        found = found.find(Todo.completed == completed)
    if tag is not None:
        found = found.find(Todo.tags == tag)
    order = sort.replace("priority", "priority_rank")
    direction = "-" if order.startswith("-") else "+"
    todos = await found.sort(direction + order.removeprefix("-"), direction + "_id").skip(skip).limit(limit).to_list()
    return {"items": todos}


@app.get("/v1/todos/{todo_id}", response_model=TodoOut)
async def get_todo(todo_id: PydanticObjectId, user: CurrentUser, response: Response) -> Todo:
    todo = await Todo.find_one(Todo.id == todo_id, Todo.owner == user.id)
    if todo is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    response.headers["ETag"] = f'"{todo.version}"'
    return todo


@app.patch("/v1/todos/{todo_id}", response_model=TodoOut)
async def update_todo(
    todo_id: PydanticObjectId,
    patch: TodoUpdate,
    user: CurrentUser,
    response: Response,
    if_match: Annotated[str | None, Header()] = None,
) -> Todo:
    changes = patch.model_dump(exclude_unset=True)
    conditions = [] if if_match is None else [Todo.version == int(if_match.strip('"'))]
    todo = await Todo.find_one(Todo.id == todo_id, Todo.owner == user.id)
    if todo is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    if {"title", "description"} & changes.keys():
        merged = todo.model_copy(update=changes)
        changes["title_key"] = merged.title.casefold()
        changes["words"] = extract_words(merged.title, merged.description, *(step.title for step in merged.steps))
    return await change(todo, conditions, changes, response)


@app.post("/v1/todos/{todo_id}/complete", response_model=TodoOut)
async def complete_todo(todo_id: PydanticObjectId, user: CurrentUser, response: Response) -> Todo:
    return await set_completed(todo_id, user, response, completed=True)


@app.post("/v1/todos/{todo_id}/reopen", response_model=TodoOut)
async def reopen_todo(todo_id: PydanticObjectId, user: CurrentUser, response: Response) -> Todo:
    return await set_completed(todo_id, user, response, completed=False)


async def set_completed(todo_id: PydanticObjectId, user: User, response: Response, *, completed: bool) -> Todo:
    todo = await Todo.find_one(Todo.id == todo_id, Todo.owner == user.id)
    if todo is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    changes = {"completed": completed, "completed_at": datetime.now(UTC) if completed else None}
    return await change(todo, [], changes, response)


async def change(todo: Todo, conditions: list[Any], changes: dict[str, Any], response: Response) -> Todo:
    changes["updated_at"] = datetime.now(UTC)
    changed = await Todo.find_one(Todo.id == todo.id, Todo.owner == todo.owner, *conditions).update(
        {"$set": changes, "$inc": {"version": 1}}, response_type=UpdateResponse.NEW_DOCUMENT
    )
    if changed is None:
        raise HTTPException(status.HTTP_412_PRECONDITION_FAILED)
    response.headers["ETag"] = f'"{changed.version}"'
    return changed


def extract_words(*texts: str) -> list[str]:
    return sorted({word for text in texts for word in re.findall(r"\w+", text.casefold())})
