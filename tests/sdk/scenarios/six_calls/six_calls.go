// Six calls with the Go client of openapi-generator.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	openapi "todo_client"
)

func main() {
	settings := openapi.NewConfiguration()
	settings.Servers[0].URL = os.Getenv("SERVICE_URL")
	client := openapi.NewAPIClient(settings)
	ctx := context.Background()

	tokens, _, err := client.SessionsAPI.CreateToken(ctx).GrantType("password").
		Username(os.Getenv("SERVICE_USER")).Password(os.Getenv("SERVICE_PASSWORD")).Execute()
	check(err)
	ctx = context.WithValue(ctx, openapi.ContextAccessToken, tokens.AccessToken)

	created := []string{}
	for _, title := range []string{"Water the plants", "Buy seeds", "Rake the leaves"} {
		body := openapi.NewTodoCreate(title)
		body.SetDueAt(time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC))
		todo, _, err := client.TodosAPI.CreateTodo(ctx).TodoCreate(*body).Execute()
		check(err)
		created = append(created, todo.Title)
	}

	first, _, err := client.TodosAPI.ListTodos(ctx).Sort(openapi.CREATED_AT).Limit(2).Execute()
	check(err)
	second, _, err := client.TodosAPI.ListTodos(ctx).Sort(openapi.CREATED_AT).Limit(2).Cursor(first.GetNextCursor()).Execute()
	check(err)

	patch := openapi.NewTodoUpdate()
	patch.SetTitle("Water all the plants")
	_, stale, err := client.TodosAPI.UpdateTodo(ctx, first.Items[0].Id).TodoUpdate(*patch).IfMatch(`"99"`).Execute()
	problem := err.(*openapi.GenericOpenAPIError).Model().(openapi.Problem)

	patch = openapi.NewTodoUpdate()
	patch.SetDueAtNil()
	cleared, _, err := client.TodosAPI.UpdateTodo(ctx, first.Items[0].Id).TodoUpdate(*patch).Execute()
	check(err)

	files, unchanged := map[string]string{}, map[string]int64{}
	for _, format := range []string{"csv", "json", "ics"} {
		file, _, err := client.TodosAPI.ExportTodos(ctx).Format(format).Execute()
		check(err)
		content, err := io.ReadAll(file)
		check(err)
		files[format] = string(content)
		_, err = file.Seek(0, io.SeekStart)
		check(err)
		report, _, err := client.TodosAPI.ImportTodos(ctx).Format(format).Body(file).Execute()
		check(err)
		unchanged[format] = int64(report.Unchanged)
	}

	told, err := json.Marshal(map[string]any{
		"signed in": tokens.TokenType,
		"created":   created,
		"pages":     []int{len(first.Items), len(second.Items)},
		"stale":     []any{stale.StatusCode, problem.Type},
		"cleared":   []any{cleared.Title, cleared.DueAt.IsSet() && cleared.DueAt.Get() == nil},
		"files":     files,
		"unchanged": unchanged,
	})
	check(err)
	fmt.Println(string(told))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
