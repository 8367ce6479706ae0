// Azuread stands in for the Terraform provider hashicorp/azuread where that cannot be
// had: it has the provider's schema, as far as docs/register/terraform needs it, and
// otherwise only remembers what it is told. With it, terraform validates, plans and
// applies the configuration; what Microsoft would say to it, it cannot know.
//
// Schema.json has the names and types of version 3.7.0, and what is required there. It
// was taken from bindings that were generated from the provider's own schema: those of
// the CDK for Terraform, npm package @cdktf/provider-azuread 14.3.1.
package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

//go:embed schema.json
var schemaJSON []byte

type attribute struct {
	Type                         string
	Required, Optional, Computed bool
}

type block struct {
	Attributes map[string]attribute
	Blocks     map[string]block
	Nesting    string
	Min, Max   int64
}

var schema struct {
	Resources   map[string]block
	DataSources map[string]block `json:"data_sources"`
}

// What Microsoft Graph has in this tenant.
const (
	graphAppID = "00000003-0000-0000-c000-000000000000"
	tenantID   = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
)

var scopes = []string{"openid", "profile", "email", "offline_access", "User.Read", "Files.Read", "Files.ReadWrite", "Calendars.Read"}

func main() {
	if err := json.Unmarshal(schemaJSON, &schema); err != nil {
		log.Fatal(err)
	}
	if err := tf5server.Serve("hashicorp/azuread", func() tfprotov5.ProviderServer { return provider{} }); err != nil {
		log.Fatal(err)
	}
}

func typeOf(name string) tftypes.Type {
	switch name {
	case "string":
		return tftypes.String
	case "bool":
		return tftypes.Bool
	case "number":
		return tftypes.Number
	case "list(string)":
		return tftypes.List{ElementType: tftypes.String}
	case "set(string)":
		return tftypes.Set{ElementType: tftypes.String}
	case "map(string)":
		return tftypes.Map{ElementType: tftypes.String}
	}
	panic("schema.json: type " + name)
}

func (b block) schema() *tfprotov5.SchemaBlock {
	s := &tfprotov5.SchemaBlock{}
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		a := b.Attributes[name]
		s.Attributes = append(s.Attributes, &tfprotov5.SchemaAttribute{Name: name, Type: typeOf(a.Type), Required: a.Required, Optional: a.Optional, Computed: a.Computed})
	}
	for _, name := range slices.Sorted(maps.Keys(b.Blocks)) {
		inner := b.Blocks[name]
		nesting := tfprotov5.SchemaNestedBlockNestingModeList
		if inner.Nesting == "set" {
			nesting = tfprotov5.SchemaNestedBlockNestingModeSet
		}
		s.BlockTypes = append(s.BlockTypes, &tfprotov5.SchemaNestedBlock{TypeName: name, Block: inner.schema(), Nesting: nesting, MinItems: inner.Min, MaxItems: inner.Max})
	}
	return s
}

func (b block) value() tftypes.Type { return (&tfprotov5.Schema{Block: b.schema()}).ValueType() }

func newID() string {
	id := make([]byte, 16)
	rand.Read(id)
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func failed(err error) []*tfprotov5.Diagnostic {
	if err == nil {
		return nil
	}
	return []*tfprotov5.Diagnostic{{Severity: tfprotov5.DiagnosticSeverityError, Summary: err.Error()}}
}

// change returns the object with some of its attributes replaced.
func (b block) change(v *tfprotov5.DynamicValue, replace func(name string, a attribute, old tftypes.Value) (tftypes.Value, error)) (*tfprotov5.DynamicValue, error) {
	of := b.value()
	object, err := v.Unmarshal(of)
	if err != nil || object.IsNull() {
		return v, err
	}
	fields := map[string]tftypes.Value{}
	if err := object.As(&fields); err != nil {
		return nil, err
	}
	for name, a := range b.Attributes {
		if fields[name], err = replace(name, a, fields[name]); err != nil {
			return nil, err
		}
	}
	result, err := tfprotov5.NewDynamicValue(of, tftypes.NewValue(of, fields))
	return &result, err
}

type provider struct{ tfprotov5.ProviderServer }

func (provider) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	res := &tfprotov5.GetMetadataResponse{}
	for name := range schema.Resources {
		res.Resources = append(res.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range schema.DataSources {
		res.DataSources = append(res.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return res, nil
}

func (provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	res := &tfprotov5.GetProviderSchemaResponse{Provider: &tfprotov5.Schema{Block: &tfprotov5.SchemaBlock{}},
		ResourceSchemas: map[string]*tfprotov5.Schema{}, DataSourceSchemas: map[string]*tfprotov5.Schema{}}
	for name, b := range schema.Resources {
		res.ResourceSchemas[name] = &tfprotov5.Schema{Block: b.schema()}
	}
	for name, b := range schema.DataSources {
		res.DataSourceSchemas[name] = &tfprotov5.Schema{Block: b.schema()}
	}
	return res, nil
}

func (provider) PrepareProviderConfig(_ context.Context, req *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: req.Config}, nil
}

func (provider) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	return &tfprotov5.ConfigureProviderResponse{}, nil
}

func (provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func (provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (provider) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (provider) UpgradeResourceState(_ context.Context, req *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	of := schema.Resources[req.TypeName].value()
	value, err := req.RawState.Unmarshal(of)
	if err != nil {
		return &tfprotov5.UpgradeResourceStateResponse{Diagnostics: failed(err)}, nil
	}
	state, err := tfprotov5.NewDynamicValue(of, value)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &state, Diagnostics: failed(err)}, nil
}

func (provider) ReadResource(_ context.Context, req *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	return &tfprotov5.ReadResourceResponse{NewState: req.CurrentState}, nil
}

// PlanResourceChange leaves what Microsoft will say unknown.
func (provider) PlanResourceChange(_ context.Context, req *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	planned, err := schema.Resources[req.TypeName].change(req.ProposedNewState, func(_ string, a attribute, old tftypes.Value) (tftypes.Value, error) {
		if a.Computed && old.IsNull() {
			return tftypes.NewValue(typeOf(a.Type), tftypes.UnknownValue), nil
		}
		return old, nil
	})
	return &tfprotov5.PlanResourceChangeResponse{PlannedState: planned, Diagnostics: failed(err)}, nil
}

func (provider) ApplyResourceChange(_ context.Context, req *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	state, err := schema.Resources[req.TypeName].change(req.PlannedState, func(name string, a attribute, old tftypes.Value) (tftypes.Value, error) {
		of := typeOf(a.Type)
		switch {
		case old.IsKnown():
			return old, nil
		case of.Is(tftypes.String) && name == "id" && req.TypeName == "azuread_application":
			return tftypes.NewValue(of, "/applications/"+newID()), nil
		case of.Is(tftypes.String):
			return tftypes.NewValue(of, newID()), nil
		case of.Is(tftypes.Bool):
			return tftypes.NewValue(of, false), nil
		case of.Is(tftypes.Map{}):
			return tftypes.NewValue(of, map[string]tftypes.Value{}), nil
		}
		return tftypes.NewValue(of, []tftypes.Value{}), nil
	})
	return &tfprotov5.ApplyResourceChangeResponse{NewState: state, Diagnostics: failed(err)}, nil
}

func (provider) ReadDataSource(_ context.Context, req *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	state, err := schema.DataSources[req.TypeName].change(req.Config, func(name string, a attribute, old tftypes.Value) (tftypes.Value, error) {
		of := typeOf(a.Type)
		switch {
		case name == "tenant_id":
			return tftypes.NewValue(of, tenantID), nil
		case name == "oauth2_permission_scope_ids":
			ids := map[string]tftypes.Value{}
			for i, scope := range scopes {
				ids[scope] = tftypes.NewValue(tftypes.String, fmt.Sprintf("00000000-0000-0000-0000-%012d", i))
			}
			return tftypes.NewValue(of, ids), nil
		case name == "client_id" && req.TypeName == "azuread_service_principal":
			var id string
			if err := old.As(&id); err != nil || id != graphAppID {
				return old, fmt.Errorf("no service principal has the client ID %q", id)
			}
		case of.Is(tftypes.String) && old.IsNull():
			return tftypes.NewValue(of, name+" of "+req.TypeName), nil
		}
		return old, nil
	})
	return &tfprotov5.ReadDataSourceResponse{State: state, Diagnostics: failed(err)}, nil
}
