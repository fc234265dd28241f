{{/* What the schema cannot say. Included by the StatefulSet, so nothing is rendered without it. */}}
{{- define "quipu.checks" -}}
{{- $root := . -}}
{{- $replicas := int .Values.replicas -}}

{{- if .Values.tls.enabled -}}
{{- fail "tls.enabled: this release speaks plain text on all listeners; keep the ports inside a trusted network (networkPolicy.enabled=true), or put a mesh around them" -}}
{{- end -}}
{{- if .Values.auth.enabled -}}
{{- fail "auth.enabled: this release asks nobody who they are; keep the ports inside a trusted network (networkPolicy.enabled=true)" -}}
{{- end -}}
{{- if eq $replicas 2 -}}
{{- fail "replicas: 2 nodes stop as soon as one of them does: take 1, or 3 and more" -}}
{{- end -}}

{{/* Ids are unique, and none is used again. */}}
{{- $removed := list -}}
{{- range .Values.removedNodes }}{{ $removed = append $removed (int64 .) }}{{ end -}}
{{- $owners := dict -}}
{{- range $ordinal := untilStep 1 (int (add1 $replicas)) 1 -}}
{{- $id := include "quipu.nodeId" (list $root $ordinal) -}}
{{- with get $owners $id -}}
{{- fail (printf "nodeIds: pods %s and %d would both be node %s: give one of them an id that no node ever had" . $ordinal $id) -}}
{{- end -}}
{{- $_ := set $owners $id (toString $ordinal) -}}
{{- if has (int64 $id) $removed -}}
{{- fail (printf "pod %d would be node %s, which is in removedNodes: ids are never used again. Delete the old volume (kubectl delete pvc data-%s) and give the pod another id: nodeIds: {\"%d\": %d}" $ordinal $id (include "quipu.podName" (list $root $ordinal)) $ordinal (add 100 $id)) -}}
{{- end -}}
{{- end -}}
{{- range $ordinal, $id := .Values.nodeIds -}}
{{- if gt (int $ordinal) 1000000 -}}
{{- fail (printf "nodeIds: there is no pod %s" $ordinal) -}}
{{- end -}}
{{- end -}}

{{/* Pods go when their nodes are gone. */}}
{{- range $ordinal := include "quipu.goingOrdinals" . | fromJsonArray -}}
{{- $id := include "quipu.nodeId" (list $root $ordinal) -}}
{{- if not (has (int64 $id) $removed) -}}
{{- if ne $root.Values.scaleDown.mode "decommission" -}}
{{- $pod := include "quipu.podName" (list $root 1) -}}
{{- fail (printf "replicas: %s would be stopped, and node %s holds data. First: kubectl exec -n %s %s -- quipu node decommission %s --yes. Once it says that the node is removed, repeat the upgrade with %s in removedNodes. (Or let a hook do it: scaleDown.mode=decommission.)" (include "quipu.podName" (list $root $ordinal)) $id $root.Release.Namespace $pod $id $id) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range .Values.topology.topics -}}
{{- if gt (int (default 0 .replication)) $replicas -}}
{{- fail (printf "topology.topics: topic %s wants %d replicas of %d nodes" .name (int .replication) $replicas) -}}
{{- end -}}
{{- end -}}
{{- if .Values.external.enabled -}}
{{- if ne (len .Values.external.addresses) $replicas -}}
{{- fail (printf "external.addresses: %d are given for %d replicas: one host:port each, in order of ordinal" (len .Values.external.addresses) $replicas) -}}
{{- end -}}
{{- if and (eq .Values.external.type "NodePort") (ne (len .Values.external.nodePorts) $replicas) -}}
{{- fail (printf "external.nodePorts: %d are given for %d replicas: one each, in order of ordinal" (len .Values.external.nodePorts) $replicas) -}}
{{- end -}}
{{- end -}}
{{- $ports := list .Values.listeners.client.port .Values.listeners.peer.port .Values.listeners.metrics.port -}}
{{- if ne (len ($ports | uniq)) 3 -}}
{{- fail "listeners: client, peer and metrics need a port each" -}}
{{- end -}}
{{- if and .Values.drain.enabled (le (int .Values.terminationGracePeriodSeconds) (int .Values.drain.timeoutSeconds)) -}}
{{- fail "terminationGracePeriodSeconds must be more than drain.timeoutSeconds: the node stops after it was drained" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name (list "POD_NAME" "QUIPU_CONFIG" "QUIPU_SERVERS" "QUIPU_NODE__ID" "QUIPU_NODE__DATA_DIR" "QUIPU_CLUSTER__BOOTSTRAP") -}}
{{- fail (printf "extraEnv: %s is the chart's own" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* How many pods there are: as said, else as the cluster says, else unknown (empty). */}}
{{- define "quipu.livePods" -}}
{{- if not (kindIs "invalid" .Values.scaleDown.from) -}}
{{- int .Values.scaleDown.from -}}
{{- else -}}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "quipu.fullname" .) -}}
{{- with $live -}}{{- int .spec.replicas -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ordinals of pods that would go, the highest first, as JSON. */}}
{{- define "quipu.goingOrdinals" -}}
{{- $going := list -}}
{{- with include "quipu.livePods" . -}}
{{- range $ordinal := untilStep (int .) (int $.Values.replicas) -1 }}{{ $going = append $going $ordinal }}{{ end -}}
{{- end -}}
{{- toJson $going -}}
{{- end -}}

{{/* Ids of nodes that the hook is to decommission, the highest ordinal first, as JSON. */}}
{{- define "quipu.toDecommission" -}}
{{- $root := . -}}
{{- $removed := list -}}
{{- range .Values.removedNodes }}{{ $removed = append $removed (int64 .) }}{{ end -}}
{{- $ids := list -}}
{{- if eq .Values.scaleDown.mode "decommission" -}}
{{- range $ordinal := include "quipu.goingOrdinals" . | fromJsonArray -}}
{{- $id := include "quipu.nodeId" (list $root $ordinal) | int64 -}}
{{- if not (has $id $removed) }}{{ $ids = append $ids $id }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toJson $ids -}}
{{- end -}}
