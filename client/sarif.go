package client

import (
	"path"
	"path/filepath"
	"strings"

	"packregistry.dev/pack"
)

// The part of the Static Analysis Results Interchange Format 2.1.0 that code hosts show beside the lines of a change.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver struct {
			Name           string `json:"name"`
			InformationURI string `json:"informationUri"`
		} `json:"driver"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		PhysicalLocation struct {
			ArtifactLocation struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

// SARIF returns what was found as SARIF, to be written as JSON.
func SARIF(found []*Validation) any {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver.Name, run.Tool.Driver.InformationURI = "packctl", "https://packregistry.dev"
	for _, v := range found {
		for _, violation := range v.Errors {
			run.Results = append(run.Results, sarifOf(v.Directory, "error", violation))
		}
		for _, violation := range v.Warnings {
			run.Results = append(run.Results, sarifOf(v.Directory, "warning", violation))
		}
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func sarifOf(dir, level string, v pack.Violation) sarifResult {
	text := v.Message
	if v.Mend != "" {
		text += "; " + v.Mend
	}
	file, pointer, _ := strings.Cut(v.Path, "#")
	if pointer != "" {
		text = pointer + ": " + text
	}
	rule := v.Rule
	if rule == "" {
		rule = "pack"
	}
	result := sarifResult{RuleID: rule, Level: level, Message: sarifText{text}}
	var location sarifLocation
	location.PhysicalLocation.ArtifactLocation.URI = path.Join(filepath.ToSlash(dir), file)
	if v.Line > 0 {
		location.PhysicalLocation.Region = &sarifRegion{v.Line}
	}
	result.Locations = []sarifLocation{location}
	return result
}
